"""Decide by one counter that starts over when its window ends. Knows no clock, no key, no store.

The window begins at a key's first request, not at the full minute. Up to twice the quota can
pass around a boundary: choose the sliding window unless a plain "so many, then start over" is
what you promised.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask_concurrency.policies.exact_wait import exact_wait
from flask_concurrency.policies.spending import refuse_negative
from flask_concurrency.vocabulary.decision import Outcome

# Makes a NamedTuple in a third of its constructor's time.
new = tuple.__new__


Window = tuple[float, int]
"""When the window began, and the units spent in it; a plain tuple, which is made fastest."""


@dataclass(frozen=True, slots=True)
class FixedWindow:
    """At most ``quota`` units in each window of ``period``.

    :param quota: Units allowed.
    :param period: Seconds.
    """

    quota: int
    period: float

    def take(self, state: Window | None, now: float, cost: int) -> tuple[Window, Outcome]:
        """Spend ``cost`` units if they fit; a refusal spends nothing.

        :param state: What the last call returned; ``None`` for a key never seen.
        :param now: The instant, in seconds of any clock that does not go back.
        """
        # This runs for every limit of every request, so it calls as little as it can.
        period = self.period
        started_at, used = state or (now, 0)
        if not used or now - started_at >= period:  # nothing spent, as after a refund, is no window
            started_at, used = now, 0
        if used + cost > self.quota:
            return (started_at, used), self._refusal((started_at, used), now, cost)
        if cost < 0:
            refuse_negative(cost)
        used += cost
        reset_after = started_at + period - now if used else 0.0
        return (started_at, used), new(Outcome, (True, self.quota - used, 0.0, reset_after))

    def give_back(self, state: Window, now: float, cost: int, after: float) -> Window:
        """Return ``cost`` units, if the window they were spent in is still open."""
        started_at, used = state
        return state if now - after < started_at else (started_at, max(0, used - cost))

    def forgettable(self, state: Window, now: float) -> bool:
        """Whether the state decides like a key never seen."""
        return now - state[0] >= self.period

    def _refusal(self, window: Window, now: float, cost: int) -> Outcome:
        started_at, used = window
        left = started_at + self.period - now
        retry_after = None
        if cost <= self.quota:
            retry_after = exact_wait(left, now, lambda at: self.forgettable(window, at))
        return Outcome(False, self.quota - used, retry_after, left if used else 0.0)
