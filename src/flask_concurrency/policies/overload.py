"""Decide which requests an overloaded app takes: by age, by the number inside, by priority, fairly.

Knows instants and numbers; knows no clock, no thread, no server.
"""

from __future__ import annotations

from math import inf
from typing import Final, Literal

from flask_concurrency.policies.age_guard import AgeGuard
from flask_concurrency.policies.fair_share import FairShare
from flask_concurrency.policies.late_guard import Entry, LateGuard
from flask_concurrency.vocabulary.priority import STANDINGS, Priority

Reason = Literal["age", "cap"]
"""Why a request is refused: it is too old; as many are inside as may be."""

BUSY: Final = 1.0
"""Seconds after a refusal for which clients' shares are counted."""

GREEDY_PATIENCE: Final = 0.5
GREEDY_SHARE: Final = 0.8
"""What a client gets that has had more than its share: half the patience, and so much of the cap.
So it is refused first, and still gets all that others leave."""

YIELDED: Final = 0.75
"""How much of its share of the cap a request may fill for a while after a critical one found no
place (:data:`BUSY`). Otherwise others take the places that critical ones will need: of critical
requests at 0.75 of the capacity of a pool, at five times the load in all, 10 to 20 % were refused
(``./scripts/bench overload-priorities``)."""

_NORMAL = STANDINGS["normal"]


class OverloadGuards:
    """Both guards of one process or route, with priorities and fair shares.

    :param deadline: Seconds in which an answer is worth having.
    :param least: Requests that may always be inside.
    :param most: Requests that may ever be; ``None`` for any number.
    :param salt: Makes shares of one process differ from those of the next.
    """

    __slots__ = ("_busy_until", "_yields_until", "age", "late", "shares")

    def __init__(
        self, deadline: float, *, least: int = 1, most: int | None = None, salt: int = 0
    ) -> None:
        self.age = AgeGuard(deadline)
        self.late = LateGuard(deadline, least=least, most=most)
        self.shares = FairShare(salt)
        self._busy_until = -inf
        self._yields_until = -inf

    def chooses(self, now: float) -> bool:
        """Whether it matters who asks: not all can be admitted, or could not a moment ago."""
        return (
            self.age.standing or now < self._busy_until or self.late.in_flight >= self.late.cap / 2
        )

    def refuses(
        self, now: float, age: float, priority: Priority = "normal", key: int | None = None
    ) -> Reason | None:
        """Why a request is refused; ``None`` to admit it.

        :param now: The instant.
        :param age: Seconds since it arrived in the kernel; ``0.0`` if that is not known.
        :param priority: How much it matters.
        :param key: A hash of the client; ``None`` to count no shares.
        """
        patience, share, spare = _NORMAL if priority == "normal" else STANDINGS[priority]
        if key is not None and not self.chooses(now):
            key = None
        if key is not None and priority != "critical" and self.shares.exceeds(key, now):
            patience *= GREEDY_PATIENCE
            share *= GREEDY_SHARE
        if now < self._yields_until and priority != "critical":
            share *= YIELDED
        reason: Reason | None = None
        too_old = self.age.refuses(now, age, patience)
        self.late.pressed = self.age.standing
        if too_old:
            reason = "age"
        elif not self.late.admits(now, share, spare):
            reason = "cap"
            if priority == "critical":
                self._yields_until = now + BUSY
        if reason is not None:
            self._busy_until = now + BUSY
        elif key is not None:
            self.shares.give(key, now)
        return reason

    def enter_in_calm(self, now: float, age: float) -> Entry | None:
        """Count a request where none is refused: :meth:`refuses` and :meth:`enter` in one.

        :returns: ``None`` where it would have to be decided.
        """
        late = self.late
        if now < self._busy_until or late.cap != inf or not self.age.is_calm(age):
            return None
        return late.enter(now, age)

    def enter(self, now: float, age: float, deadline: float | None = None) -> Entry:
        """Count one that was admitted."""
        return self.late.enter(now, age, deadline)
