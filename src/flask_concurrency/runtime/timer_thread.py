"""Decide when something is done that is due at an instant. Knows neither tasks nor workers.

One thread for a whole process, which exists only while something is due.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Final

from flask_concurrency.runtime.at_exit import start_thread
from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.runtime.gevent_patch import refuse_late_patch
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.executors")

IDLE: Final = 5.0
"""Seconds for which the thread waits for the next alarm before it ends."""

_FEW: Final = 64
"""Cancelled alarms that are not worth the trouble of removing."""


class Alarm:
    """A call that is due at an instant, unless it is cancelled before.

    :ivar at: Monotonic instant in seconds.
    """

    __slots__ = ("_keeper", "at", "callback")

    def __init__(self, at: float, callback: Callable[[], object], keeper: Timekeeper) -> None:
        self.at = at
        self.callback: Callable[[], object] | None = callback
        self._keeper = keeper

    def cancel(self) -> None:
        """Cancel the call; nothing happens if it was made.

        Takes no lock, since a destructor may call it, in the middle of anything.
        """
        if self.callback is not None:
            self.callback = None
            self._keeper.cancelled += 1


class Timekeeper:
    """Makes calls at their instants, on a thread of its own.

    A call is to be short and must not wait: the next one waits for it. What it raises is logged.

    :param clock: Source of the time.
    :param idle: Seconds for which the thread waits for the next alarm before it ends.
    :ivar cancelled: About how many alarms it keeps that were cancelled.
    """

    def __init__(self, clock: Clock = monotonic, *, idle: float = IDLE) -> None:
        self._clock = clock
        self._idle = idle
        self._reset_after_fork()
        call_in_child(self, Timekeeper._reset_after_fork)

    def _reset_after_fork(self) -> None:
        """Begin without alarms: a child has its parent's, and not its thread."""
        # In C, and not a condition's own: an exception of a signal handler never leaves it held.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._due: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()
        self._running = False
        self.cancelled = 0

    def call_at(self, at: float, callback: Callable[[], object]) -> Alarm:
        """Have ``callback`` called at the monotonic instant ``at``, or soon if that has passed.

        :raises RuntimeError: No thread can be started.
        :raises ConfigurationError: gevent has replaced threads too late.
        """
        alarm = Alarm(at, callback, self)
        with self._lock:
            self._throw_cancelled_away()
            if not self._running:
                refuse_late_patch()
                thread = threading.Thread(target=self._run, name="concurrency-time", daemon=True)
                start_thread(thread)
                self._running = True
            heapq.heappush(self._due, (at, next(self._numbers), alarm))
            if self._due[0][2] is alarm:  # else the thread wakes early enough
                self._changed.notify()
        return alarm

    def call_after(self, seconds: float, callback: Callable[[], object]) -> Alarm:
        """Have ``callback`` called ``seconds`` from now, by the clock of this object.

        :raises RuntimeError: No thread can be started.
        """
        return self.call_at(self._clock() + seconds, callback)

    def __len__(self) -> int:
        """Alarms that are due one day."""
        with self._lock:
            return sum(alarm.callback is not None for _, _, alarm in self._due)

    def _throw_cancelled_away(self) -> None:
        """Do so once they are half of all: most alarms are cancelled long before they are due."""
        if self.cancelled > max(_FEW, len(self._due) // 2):
            self.cancelled = 0
            self._due = [entry for entry in self._due if entry[2].callback is not None]
            heapq.heapify(self._due)

    def _run(self) -> None:
        while (alarm := self._next()) is not None:
            callback, alarm.callback = alarm.callback, None
            if callback is not None:
                try:
                    callback()
                except BaseException:  # ``sys.exit()`` in a callback would end this thread
                    logger.exception("What was due at an instant failed")
            del alarm, callback  # it may hold a request

    def _next(self) -> Alarm | None:
        """Wait for the next alarm; ``None`` when none has come for a while."""
        with self._lock:
            while True:
                while self._due and self._due[0][2].callback is None:
                    heapq.heappop(self._due)
                    self.cancelled = max(0, self.cancelled - 1)
                if self._due:
                    left = self._due[0][0] - self._clock()
                    if left <= 0:
                        return heapq.heappop(self._due)[2]
                    self._changed.wait(min(left, threading.TIMEOUT_MAX))
                elif not self._changed.wait(self._idle) and not self._due:
                    self._running = False
                    return None


timekeeper: Final = Timekeeper()
"""The one of this process."""
