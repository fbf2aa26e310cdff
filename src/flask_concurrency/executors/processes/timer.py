"""Decide how a descriptor is made that becomes readable after a while. Linux only."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

_CLOCK_MONOTONIC = 1
_TFD_CLOEXEC = 0o2000000
_TFD_NONBLOCK = 0o4000


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class Timer:
    """A descriptor that becomes readable ``delay`` seconds after :meth:`start`.

    Called from the C library, because ``os.timerfd_create`` came with Python 3.13 only.

    :raises OSError: This system has no such descriptors.
    """

    def __init__(self, delay: float) -> None:
        if sys.platform != "linux":
            raise OSError("There is no timerfd here.")
        # PyDLL keeps the interpreter's lock: these calls take less than handing it over.
        libc = ctypes.PyDLL(None, use_errno=True)
        self.fd: int = libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_CLOEXEC | _TFD_NONBLOCK)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._after_delay = ctypes.byref(_TimerSpec(value=_TimeSpec(0, int(delay * 1e9))))
        self._set = libc.timerfd_settime

    def start(self) -> None:
        """Begin to count."""
        self._set(self.fd, 0, self._after_delay, None)

    def clear(self) -> None:
        """Make the descriptor unreadable again after the time is up."""
        with suppress(BlockingIOError):
            os.read(self.fd, 8)

    def close(self) -> None:
        """Free the descriptor."""
        os.close(self.fd)
