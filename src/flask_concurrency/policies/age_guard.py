"""Decide from the ages of requests whether a queue stands before the app, and what it refuses.

Knows ages and instants; knows no clock, no thread, no server.

The rule is CoDel's (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 2012): a queue that
empties again and again is a burst, and is let be; a queue whose *youngest* request has been old for
a whole interval stands, and is cut down.
"""

from __future__ import annotations

from typing import Final

TARGET: Final = 0.1
"""Share of the deadline that a request may have waited while a queue stands.

Measured on a synchronous worker with a deadline of 0.5 s: of requests at 0.8 and 0.9 of capacity a
target of 30 ms refuses 0.33 % and 4.45 %, 50 ms 0 % and 1.3 %, 100 ms none; above capacity a target
of 100 ms answers up to 6 % fewer in time, and half of them 50 ms later.
"""

INTERVAL: Final = 0.1
"""Seconds for which every request must have been old before the queue counts as standing: CoDel's.

Without it, 0.33 % and 1.9 % are refused at 0.8 and 0.9 of capacity.
"""


LEVEL: Final = 0.1
"""Weight of the newest age in the level that all are about as old as. Where ages are read for many
requests at once, as on granian, single ones are off by 20 ms and more: with one greedy client among
fifty, which sent half of three times the load, that client got 24 % of all answers by its single
ages; by the level it gets 5 % (``./scripts/bench overload-priorities``)."""


class AgeGuard:
    """The queue before one process, as the ages of the requests that leave it show it.

    :param deadline: Seconds in which an answer is worth having.
    :ivar target: Seconds a request may have waited while the queue stands.
    :ivar standing: Whether the queue stands.
    :ivar level: How old requests have been of late, in seconds.
    """

    __slots__ = ("_last_old_at", "_stands_at", "level", "standing", "target")

    def __init__(self, deadline: float) -> None:
        self.target = TARGET * deadline
        self.standing = False
        self.level = 0.0
        self._stands_at: float | None = None
        self._last_old_at = 0.0

    def is_calm(self, age: float) -> bool:
        """Take note of a request that comes in, if no queue stands and it is young.

        :returns: Whether that is so; :meth:`refuses` must be asked where it is not.
        """
        if self.standing or age > self.target:
            return False
        self._stands_at = None
        return True

    def refuses(self, now: float, age: float, patience: float = 1.0) -> bool:
        """Take note of a request that comes in, and return whether it is too old.

        :param now: The instant.
        :param age: Seconds since it arrived in the kernel; ``0.0`` if that is not known.
        :param patience: How many times the target this kind of request may be old.
        """
        self.level += LEVEL * (age - self.level)
        if age <= self.target:
            self._stands_at = None
            if self.standing and now - self._last_old_at > INTERVAL:
                self.standing = False
        else:
            # A thread that was held up for the interpreter comes with an instant of long ago.
            self._last_old_at = max(self._last_old_at, now)
            if not self.standing:
                if self._stands_at is None:
                    self._stands_at = now + INTERVAL
                self.standing = now >= self._stands_at
        if patience < 1.0:
            age = max(age, self.level)  # a lucky one that matters less is no exception
        if not self.standing or age <= self.target * patience:
            return False
        # It stands as long as it refuses: the less patient hold it down.
        self._last_old_at = max(self._last_old_at, now)
        return True
