"""A future that no exception of a signal handler leaves locked. Knows no executor."""

from __future__ import annotations

import threading
from _thread import RLock
from collections import deque
from concurrent.futures import Future
from concurrent.futures._base import PENDING
from typing import Any, TypeVar

T = TypeVar("T")


class _SignalSafeCondition(RLock, threading.Condition):  # type: ignore[misc] # final in typeshed alone
    """A condition that is its own lock.

    ``with`` takes the lock of :class:`threading.Condition` in a Python function. A signal handler
    that raises at the end of that function leaves the lock held for ever, since the block has not
    begun. A lock in C is taken and given back without such an instant.
    """

    # ``Condition`` would make a lock of its own.
    __init__ = object.__init__

    _waiters: Any = ()  # few futures are waited for: a deque for each is made for nothing

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified, ``timeout`` seconds at most; return whether it was."""
        if self._waiters == ():
            self._waiters = deque()
        return super().wait(timeout)

    def notify_all(self) -> None:
        """Wake the threads in :meth:`wait`; for most futures there are none."""
        if self._waiters:
            super().notify_all()


# Where the locks of ``threading`` are replaced, as by gevent, a usual one.
make_condition: type[threading.Condition] = (
    _SignalSafeCondition if type(threading.RLock()) is RLock else threading.Condition
)


class SignalSafeFuture(Future[T]):
    """A ``Future`` in everything.

    The lock of one whose asker is interrupted, by Ctrl-C or a time limit, would else stay held, and
    the thread that completes it would wait for ever.
    """

    def __init__(self) -> None:
        # What ``Future`` sets, which a test compares. To have it make its condition first, and
        # replace that, takes twice as long.
        self._condition = make_condition()
        self._state = PENDING
        self._result = None
        self._exception = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []
