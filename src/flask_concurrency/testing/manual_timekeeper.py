"""Let what is due be done when time is moved by hand. Knows nothing of what is due."""

from __future__ import annotations

from collections.abc import Callable

from flask_concurrency.runtime.timer_thread import Alarm, Timekeeper
from flask_concurrency.testing.manual_clock import ManualClock


class ManualTimekeeper(Timekeeper):
    """A timekeeper without a thread: moving the time makes the calls that become due.

    .. code-block:: python

        time = ManualTimekeeper()
        pool = ThreadExecutor(clock=time.clock, timekeeper=time)
        time.advance(2.0)

    :ivar clock: The clock it goes by.
    """

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.clock = ManualClock() if clock is None else clock
        super().__init__(self.clock)
        self._alarms: list[Alarm] = []

    def call_at(self, at: float, callback: Callable[[], object]) -> Alarm:
        """Have ``callback`` called as soon as the time is moved to ``at``, or past it."""
        alarm = Alarm(at, callback, self)
        self._alarms.append(alarm)
        return alarm

    def advance(self, seconds: float) -> None:
        """Move on, and make the calls that are due then, in the order of their instants."""
        self.clock.advance(seconds)
        due = [alarm for alarm in self._alarms if alarm.at <= self.clock.now]
        for alarm in sorted(due, key=lambda alarm: alarm.at):
            self._alarms.remove(alarm)
            callback, alarm.callback = alarm.callback, None
            if callback is not None:
                callback()

    def __len__(self) -> int:
        """Alarms that are due one day."""
        return sum(alarm.callback is not None for alarm in self._alarms)
