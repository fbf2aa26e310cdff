"""Decide by one counter that starts over when its window ends. Knows no clock, no key, no store.

The window begins at a key's first request, not at the full minute. Up to twice the quota can
pass around a boundary: choose the sliding window unless a plain "so many, then start over" is
what you promised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flask_concurrency.policies.exact_wait import exact_wait
from flask_concurrency.vocabulary.decision import Outcome

# Makes a NamedTuple in a third of its constructor's time.
new = tuple.__new__


class Window(NamedTuple):
    """Units spent in the window that began at ``started_at``."""

    started_at: float
    used: int


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
        window = Window(now, 0) if state is None or self.forgettable(state, now) else state
        admitted = window.used + cost <= self.quota
        if admitted:
            window = new(Window, (window.started_at, window.used + cost))
        retry_after: float | None = 0.0
        if not admitted:
            retry_after = self._retry_after(window, now) if cost <= self.quota else None
        reset_after = window.started_at + self.period - now if window.used else 0.0
        remaining = self.quota - window.used
        return window, new(Outcome, (admitted, remaining, retry_after, reset_after))

    def give_back(self, state: Window, now: float, cost: int, after: float) -> Window:
        """Return ``cost`` units, if the window they were spent in is still open."""
        if now - after < state.started_at:
            return state
        return Window(state.started_at, max(0, state.used - cost))

    def forgettable(self, state: Window, now: float) -> bool:
        """Whether the state decides like a key never seen."""
        return now - state.started_at >= self.period

    def _retry_after(self, window: Window, now: float) -> float:
        wait = window.started_at + self.period - now
        return exact_wait(wait, now, lambda at: self.forgettable(window, at))
