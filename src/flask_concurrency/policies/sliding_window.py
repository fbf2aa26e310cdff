"""Decide by weighing the previous window with how much of it still overlaps the trailing period.

Two counters a key, no rush at a boundary. Knows no clock, no key, no store.

The estimate is the one Cloudflare published in 2017 ("How we built rate limiting capable of
scaling to millions of domains"): ``current + previous × (1 − elapsed / period)``. Windows begin
at a key's first request instead of at the full minute, so clients do not come back in a herd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flask_concurrency.policies.exact_wait import exact_wait
from flask_concurrency.vocabulary.decision import Outcome


class Windows(NamedTuple):
    """Units spent in the window that began at ``started_at``, and in the one before it."""

    started_at: float
    current: int
    previous: int


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """At most ``quota`` units in a trailing ``period``, the previous window taken as even.

    :param quota: Units allowed.
    :param period: Seconds.
    """

    quota: int
    period: float

    def take(self, state: Windows | None, now: float, cost: int) -> tuple[Windows, Outcome]:
        """Spend ``cost`` units if they fit; a refusal spends nothing.

        :param state: What the last call returned; ``None`` for a key never seen.
        :param now: The instant, in seconds of any clock that does not go back.
        """
        started_at, current, previous = windows = self._roll(state, now)
        used: float = current
        if previous:
            used += previous * (1.0 - (now - started_at) / self.period)
        admitted = used + cost <= self.quota
        if admitted:
            used += cost
            # _make takes half of the constructor's time, and this runs for every limit.
            windows = Windows._make((started_at, current + cost, previous))
        remaining = int(self.quota - used)
        return windows, Outcome(
            admitted,
            remaining,
            0.0 if admitted else self._retry_after(windows, now, self.quota - cost),
            self._until(windows, now, self.quota - remaining - 1) if used else 0.0,
        )

    def give_back(self, state: Windows, now: float, cost: int, after: float) -> Windows:
        """Return ``cost`` units to the window they were spent in, ``after`` seconds ago."""
        started_at, current, previous = self._roll(state, now)
        spent_at = now - after
        if spent_at >= started_at:
            return Windows(started_at, max(0, current - cost), previous)
        if spent_at >= started_at - self.period:
            return Windows(started_at, current, max(0, previous - cost))
        return Windows(started_at, current, previous)

    def forgettable(self, state: Windows, now: float) -> bool:
        """Whether the state decides like a key never seen."""
        return now - state.started_at >= 2 * self.period

    def _roll(self, state: Windows | None, now: float) -> Windows:
        if state is None:
            return Windows(now, 0, 0)
        elapsed = now - state.started_at
        if elapsed < self.period:
            return state if elapsed >= 0 else state._replace(started_at=now)
        if elapsed < 2 * self.period:
            return Windows(state.started_at + self.period, 0, state.current)
        return Windows(now, 0, 0)

    def _until(self, windows: Windows, now: float, ceiling: int) -> float | None:
        """Seconds until the estimate has fallen to ``ceiling`` if nobody else comes."""
        started_at, current, previous = windows
        if ceiling < 0:
            return None
        if current <= ceiling:  # the previous window fades enough within this one
            faded = 1.0 - (ceiling - current) / previous if previous else 0.0
        else:  # this window must itself become the previous one and fade
            faded = 2.0 - ceiling / current
        return max(0.0, started_at + faded * self.period - now)

    def _retry_after(self, windows: Windows, now: float, ceiling: int) -> float | None:
        wait = self._until(windows, now, ceiling)
        if wait is None:
            return None
        return exact_wait(wait, now, lambda at: self._estimate(windows, at) <= ceiling)

    def _estimate(self, windows: Windows, now: float) -> float:
        started_at, current, previous = self._roll(windows, now)
        return current + previous * (1.0 - (now - started_at) / self.period)
