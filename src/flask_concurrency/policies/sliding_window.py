"""Decide by weighing the previous window with how much of it still overlaps the trailing period.

Two counters a key, no rush at a boundary. Knows no clock, no key, no store.

The estimate is the one Cloudflare published in 2017 ("How we built rate limiting capable of
scaling to millions of domains"): ``current + previous × (1 − elapsed / period)``. Windows begin
at a key's first request instead of at the full minute, so clients do not come back in a herd.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask_concurrency.policies.exact_wait import exact_wait
from flask_concurrency.vocabulary.decision import Outcome

# Makes a NamedTuple in a third of its constructor's time.
new = tuple.__new__


Windows = tuple[float, int, int]
"""When the window began, the units spent in it, and those spent in the one before it.

A plain tuple: every limit of every request makes one, and a named one takes twice as long.
"""


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """``quota`` units in a trailing ``period``, as far as an estimate from two counters can tell.

    What came in the previous window is taken as evenly spread. Where it was not, more than the
    quota may pass in some period, in the worst case nearly twice, though never in a rush: it then
    comes at the rate's own pace. A moving window is exact.

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
        # This runs for every limit of every request, so it calls as little as it can.
        period, quota = self.period, self.quota
        started_at, current, previous = state or (now, 0, 0)
        if not 0.0 <= now - started_at < period:
            started_at, current, previous = self._roll((started_at, current, previous), now)
        used = current + previous * (1.0 - (now - started_at) / period)
        if used + cost > quota:
            windows = started_at, current, previous
            return windows, self._refusal(windows, now, cost, int(quota - used))
        used += cost
        current += cost
        remaining = int(quota - used)
        ceiling = quota - remaining - 1
        if not used:
            reset_after = 0.0
        elif current > ceiling:  # as in _faded
            reset_after = started_at + (2.0 - ceiling / current) * period - now
        else:
            reset_after = started_at + (1.0 - (ceiling - current) / previous) * period - now
        return (started_at, current, previous), new(Outcome, (True, remaining, 0.0, reset_after))

    def give_back(self, state: Windows, now: float, cost: int, after: float) -> Windows:
        """Return ``cost`` units to the window they were spent in, ``after`` seconds ago."""
        started_at, current, previous = self._roll(state, now)
        spent_at = now - after
        if spent_at >= started_at:
            return started_at, max(0, current - cost), previous
        if spent_at >= started_at - self.period:
            return started_at, current, max(0, previous - cost)
        return started_at, current, previous

    def forgettable(self, state: Windows, now: float) -> bool:
        """Whether the state decides like a key never seen."""
        return now - state[0] >= 2 * self.period

    def _roll(self, windows: Windows, now: float) -> Windows:
        started_at, current, previous = windows
        elapsed = now - started_at
        if elapsed < self.period:
            return (started_at, current, previous) if elapsed >= 0 else (now, current, previous)
        if elapsed < 2 * self.period:
            return started_at + self.period, 0, current
        return now, 0, 0

    def _refusal(self, windows: Windows, now: float, cost: int, remaining: int) -> Outcome:
        started_at, current, previous = windows

        def until(ceiling: int) -> float:
            """Seconds until the estimate has fallen to ``ceiling`` if no other request comes."""
            faded = _faded(current, previous, ceiling)
            return max(0.0, started_at + faded * self.period - now)

        ceiling = self.quota - cost
        retry_after = None
        if ceiling >= 0:
            retry_after = exact_wait(
                until(ceiling), now, lambda at: self._estimate(windows, at) <= ceiling
            )
        used = current or previous
        return Outcome(
            False, remaining, retry_after, until(self.quota - remaining - 1) if used else 0.0
        )

    def _estimate(self, windows: Windows, now: float) -> float:
        started_at, current, previous = self._roll(windows, now)
        return current + previous * (1.0 - (now - started_at) / self.period)


def _faded(current: int, previous: int, ceiling: int) -> float:
    """Periods after a window's start at which its estimate has fallen to ``ceiling``."""
    if current > ceiling:  # this window must itself become the previous one and fade
        return 2.0 - ceiling / current
    # The previous window fades enough within this one.
    return 1.0 - (ceiling - current) / previous if previous else 0.0
