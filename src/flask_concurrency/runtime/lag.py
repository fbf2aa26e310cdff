"""Measure how late an event loop, or the interpreter, is: the last resort where no age is known.

Knows no request. What waits for its turn waits about as long as the turn of another that came when
it did; that is measured while requests come, and only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from flask_concurrency.runtime.timer_thread import Timekeeper, timekeeper
from flask_concurrency.vocabulary.clock import Clock, monotonic

EVERY: Final = 0.05
"""Seconds between two measurements of the interpreter's lag."""

AHEAD: Final = 0.01
"""Seconds ahead for which a call is set, to see how much later it is made."""

STALE: Final = 0.5
"""Seconds after which a measurement is stale."""


class LoopLag:
    """How long a call waits for its turn on the event loop that requests come on."""

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._lag = 0.0
        self._measured_at = 0.0
        self._set_at: float | None = None

    def __call__(self, now: float) -> float:
        """Seconds; to be called on the loop."""
        if self._set_at is None or now - self._set_at > STALE:
            self._set_at = now
            asyncio.get_running_loop().call_soon(self._measure, now)
        return self._lag if now - self._measured_at <= STALE else 0.0

    def _measure(self, set_at: float) -> None:
        self._measured_at = self._clock()
        self._lag = self._measured_at - set_at
        self._set_at = None


class InterpreterLag:
    """How long a thread waits for the interpreter, as its timer thread finds it.

    :param keeper: Makes calls at their instants.
    """

    def __init__(self, keeper: Timekeeper = timekeeper, clock: Clock = monotonic) -> None:
        self._keeper = keeper
        self._clock = clock
        self._lag = 0.0
        self._measured_at = 0.0
        self._due_at: float | None = None

    def __call__(self, now: float) -> float:
        """Seconds."""
        due_at = self._due_at
        if due_at is None:
            if now - self._measured_at >= EVERY:
                self._measure_at(now + AHEAD)
        elif now - due_at > self._lag:
            # It is overdue already, and by so much at least.
            return now - due_at if now - due_at <= STALE else 0.0
        return self._lag if now - self._measured_at <= STALE else 0.0

    def _measure_at(self, at: float) -> None:
        self._due_at = at

        def measure() -> None:
            self._measured_at = self._clock()
            self._lag = max(0.0, self._measured_at - at)
            self._due_at = None

        try:
            self._keeper.call_at(at, measure)
        except RuntimeError:  # no thread more
            self._due_at = None
            self._measured_at = self._clock()


Lag = Callable[[float], float]
"""Gives seconds at an instant."""
