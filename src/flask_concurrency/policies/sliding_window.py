"""Decide by when each unit of the trailing period was spent. Knows no clock, no key, no store.

Two promises, one in each direction: in no window of ``period`` are more than ``quota`` units
admitted, and a client that asks for no more than ``quota`` in any window is not refused.

Units are remembered as runs, oldest first: the instant of a run's last unit, and how many units it
has. Up to ``RUNS`` units every instant has a run of its own, so both promises hold exactly. For a
larger quota a unit joins the newest run if it comes within ``period / RUNS`` of that run's first
unit, and leaves with its last one. It may so count up to ``1 / RUNS`` of the period longer, and
never shorter: the first promise holds exactly, the second for windows of ``33 / 32`` periods.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

from flask_concurrency.policies.exact_wait import exact_wait
from flask_concurrency.policies.spending import refuse_negative
from flask_concurrency.vocabulary.decision import Outcome

RUNS: Final = 32
"""Units up to which each instant has a run of its own."""

MOST_RUNS: Final = RUNS + 1
"""Runs of a full window: more than ``RUNS`` gaps of ``period / RUNS`` do not fit into a period and
the one gap by which its oldest run may begin before it."""

REFUND_WITHIN: Final = 0.01
"""Part of the period by which a refund may miss the instant at which its units were spent."""

# Makes a NamedTuple in a third of its constructor's time.
new = tuple.__new__

Runs = tuple[Any, ...]
"""``(first, before, at, number, at, number, …)``: the instant of the newest run's first unit; the
number of the last unit that has left; then of each run, oldest first, the instant and the number
of its last unit. So a run has as many units as its number is above the number before it.

Flat, and numbered instead of counted, so that it is read from a file and from a server as it is,
and the units in use are one subtraction.
"""

EMPTY: Final[Runs] = (-inf, 0)
_FULL: Final = 2 + 2 * MOST_RUNS


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """At most ``quota`` units in every trailing ``period``.

    :param quota: Units allowed.
    :param period: Seconds.
    :ivar grain: Seconds after a run's first unit in which others join it; ``0.0`` up to ``RUNS``.
    """

    quota: int
    period: float
    grain: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "grain", 0.0 if self.quota <= RUNS else self.period / RUNS)

    def take(self, state: Runs | None, now: float, cost: int) -> tuple[Runs, Outcome]:
        """Spend ``cost`` units if they fit; a refusal spends nothing.

        :param state: What the last call returned; ``None`` for a key never seen.
        :param now: The instant, in seconds of any clock that does not go back.
        """
        # This runs for every limit of every request, so it calls as little as it can.
        period = self.period
        runs = state or EMPTY
        if len(runs) > 2 and runs[2] + period <= now:
            runs = self._recent(runs, now)
        number = runs[-1]
        remaining = self.quota - number + runs[1]
        if cost > remaining:
            return runs, self._refusal(runs, now, cost, remaining)
        if cost > 0:
            remaining -= cost
            if len(runs) > 2 and (now - runs[0] <= self.grain or len(runs) >= _FULL):
                newest = now, number + cost
                runs = runs[:-2] + newest
            else:
                runs = (now, *runs[1:], now, number + cost)
        elif cost < 0:
            refuse_negative(cost)
        elif len(runs) == 2:
            return runs, new(Outcome, (True, remaining, 0.0, 0.0))
        reset_after = runs[2] + period - now
        return runs, new(
            Outcome, (True, remaining, 0.0, reset_after if reset_after < period else period)
        )

    def give_back(self, state: Runs, now: float, cost: int, after: float) -> Runs:
        """Take ``cost`` units out of the run they joined ``after`` seconds ago.

        Nothing changes where that run has left, or no run near it has so many units.
        """
        spent_at = now - after
        found, distance = 0, self.grain + self.period * REFUND_WITHIN
        for index in range(2, len(state), 2):
            apart = abs(state[index] - spent_at)
            enough = state[index + 1] - state[index - 1] >= cost
            if enough and apart <= distance and state[index] + self.period > now:
                found, distance = index, apart
        if not found or not cost:
            return state
        later = list(state[found:])
        for index in range(1, len(later), 2):
            later[index] -= cost
        if later[1] != state[found - 1]:
            return (*state[:found], *later)
        # The run is empty. A run that begins now must not join the one before it.
        first = state[0] if len(later) > 2 else -inf
        return (first, *state[1:found], *later[2:])

    def forgettable(self, state: Runs, now: float) -> bool:
        """Whether the state decides like a key never seen."""
        return bool(state[-1] == state[1] or state[-2] + self.period <= now)

    def _recent(self, runs: Runs, now: float) -> Runs:
        index = 4
        while index < len(runs) and runs[index] + self.period <= now:
            index += 2
        return (runs[0], *runs[index - 1 :])

    def _refusal(self, runs: Runs, now: float, cost: int, remaining: int) -> Outcome:
        period = self.period
        remaining = max(0, remaining)  # the quota may be another than when they were spent
        reset_after = min(runs[2] + period - now, period) if len(runs) > 2 else 0.0
        retry_after = None
        if cost <= self.quota:
            excess = cost - self.quota + (runs[-1] - runs[1])
            index = 2
            while runs[index + 1] - runs[1] < excess:
                index += 2
            leaves_at = runs[index] + period
            wait = exact_wait(leaves_at - now, now, lambda then: then >= leaves_at)
            retry_after = min(wait, period)
        return Outcome(False, remaining, retry_after, reset_after)
