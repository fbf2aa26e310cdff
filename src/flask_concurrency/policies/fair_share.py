"""Decide who has taken more than a fair share while there is not enough for all.

Knows numbers that stand for clients; knows no clock, no client, no request.

Clients are counted in a fixed number of cohorts, by a hash that changes now and then: so the memory
is bounded whatever keys clients invent, and who shares a cohort with a greedy client does not for
long. Counts halve with time, so that what was taken earlier is forgiven.
"""

from __future__ import annotations

from math import inf
from typing import Final

COHORTS: Final = 2048
"""Of fifty clients the chance that one shares its cohort with a given greedy one is 2.4 %."""

ROTATES: Final = 30.0
"""Seconds after which clients are hashed anew, and all counts begin at nothing."""

HALF_LIFE: Final = 2.0
"""Seconds in which half of what was taken is forgiven."""

GREED: Final = 1.25
"""How many times an equal share a client may take: with one greedy client among fifty Jain's index
of what they are answered, simulated for half a minute, is 0.96 to 0.97 of 1."""

SLACK: Final = 3.0
"""Requests that any client may have beyond that: a few at once are not greed."""

_NOTHING: Final = 0.05
"""Requests below which a cohort counts as empty."""

_RENORM: Final = 1e9

_ODD: Final = 0x9E3779B97F4A7C15  # the golden ratio in 64 bits: neighbours end far from each other
_BITS: Final = (1 << 64) - 1


class FairShare:
    """What each cohort has been given of late.

    :param salt: Makes the cohorts of one process other ones than those of the next.
    """

    __slots__ = (
        "_active",
        "_at",
        "_began_at",
        "_given",
        "_looked_at",
        "_salt",
        "_total",
        "_weight",
    )

    def __init__(self, salt: int = 0) -> None:
        self._given = [0.0] * COHORTS
        self._weight = 1.0  # what one request counts now; grows, where the counts would shrink
        self._at = 0.0
        self._began_at = 0.0
        self._looked_at = -inf
        self._active = 0
        self._total = 0.0
        self._salt = salt

    def exceeds(self, key: int, now: float) -> bool:
        """Whether a client has been given more than others get.

        :param key: A hash of who it is.
        :param now: The instant.
        """
        self._pass_time(now)
        given = self._given[self._cohort(key)] / self._weight
        if given <= SLACK:
            return False
        if now - self._looked_at >= 0.1:
            self._looked_at = now
            least = _NOTHING * self._weight
            active = [each for each in self._given if each > least]
            self._active = len(active)
            self._total = sum(active) / self._weight
        return self._active > 1 and given > SLACK + GREED * self._total / self._active

    def give(self, key: int, now: float) -> None:
        """Count a request that was admitted."""
        self._pass_time(now)
        self._given[self._cohort(key)] += self._weight

    def _cohort(self, key: int) -> int:
        mixed = (key ^ self._salt) * _ODD & _BITS
        mixed = (mixed ^ mixed >> 32) * _ODD & _BITS
        return mixed >> 48 & COHORTS - 1

    def _pass_time(self, now: float) -> None:
        if now - self._began_at >= ROTATES:
            self._given = [0.0] * COHORTS
            self._weight = 1.0
            self._began_at = self._at = now
            self._looked_at = -inf
            self._active = 0
            self._total = 0.0
            self._salt = (self._salt + 1) * _ODD & _BITS
        self._weight *= 2.0 ** ((now - self._at) / HALF_LIFE)
        self._at = now
        if self._weight > _RENORM:
            self._given = [each / self._weight for each in self._given]
            self._weight = 1.0
