"""A condition variable whose lock is not lost to an exception of a signal handler.

Knows how the interpreter runs signal handlers; knows no future and no executor.
"""

from __future__ import annotations

import threading
from _thread import RLock
from collections import deque
from typing import Any


class _SignalSafeCondition(RLock, threading.Condition):  # type: ignore[misc] # final in typeshed alone
    """A condition that is its own lock.

    ``with`` takes the lock of :class:`threading.Condition` in a Python function. A signal handler
    that raises at the end of that function leaves the lock held for ever, since the block has not
    begun. A lock in C is taken and given back without such an instant.
    """

    def __init__(self) -> None:
        self._waiters: deque[Any] = deque()


def signal_safe_condition() -> threading.Condition:
    """Make one; where the locks of ``threading`` are replaced, as by gevent, a usual one."""
    if type(threading.RLock()) is not RLock:
        return threading.Condition()
    return _SignalSafeCondition()
