"""Decide how one thread watches many descriptors while other threads change which.

Knows descriptors only, neither workers nor messages.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import selectors
import socket
import sys
import threading
from contextlib import suppress
from typing import Final, Protocol

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


REMINDER: Final = -1
"""Stands among the descriptors that :meth:`Watch.wait` returns for a reminder that is due."""

DELAY: Final = 0.002
"""Seconds until a reminder is due, at most; where there is no timer, it is due at once."""


class Watch(Protocol):
    """The descriptors that are armed: those that :meth:`wait` returns once they are readable.

    ``arm`` and ``disarm`` take effect on a :meth:`wait` that is already going on. What ``wait``
    returns may have been disarmed, read or closed by the time the caller looks at it.
    """

    def arm(self, fd: int) -> None:
        """Watch a descriptor."""

    def disarm(self, fd: int) -> None:
        """Watch it no longer; to be called before it is closed."""

    def remind(self) -> None:
        """Make :meth:`wait` return :data:`REMINDER` within :data:`DELAY`, once."""

    def wait(self, timeout: float | None = None) -> list[int]:
        """Wait until an armed descriptor is readable, a reminder is due, or :meth:`wake` comes.

        :param timeout: Seconds to wait at most.
        """

    def wake(self) -> None:
        """Make :meth:`wait` return. Takes no lock, so a finalizer may call it."""

    def close(self) -> None:
        """Free this process's descriptors, and change nothing for a process it was forked from."""


class _Bell:
    """A socket pair with which any thread can wake the one that waits."""

    def __init__(self) -> None:
        self._ear, self._clapper = socket.socketpair()
        self._ear.setblocking(False)
        self._clapper.setblocking(False)
        self.fd = self._ear.fileno()

    def ring(self) -> None:
        with suppress(OSError):  # full, so it rings already; or closed, so nobody waits
            self._clapper.send(b"\0")

    def quiet(self) -> None:
        with suppress(OSError):
            self._ear.recv(4096)

    def close(self) -> None:
        self._ear.close()
        self._clapper.close()


class EpollWatch:
    """The kernel keeps the set and the time, so a change is cheap and wakes nobody.

    :raises OSError: The kernel lacks one of them.
    """

    def __init__(self) -> None:
        self._timer = Timer(DELAY)
        self._reminding = False
        try:
            self._epoll = select.epoll()
            self._bell = _Bell()
        except BaseException:
            self._timer.close()
            raise
        self.arm(self._bell.fd)
        self.arm(self._timer.fd)

    def arm(self, fd: int) -> None:
        """Watch a descriptor."""
        self._epoll.register(fd, select.EPOLLIN)

    def disarm(self, fd: int) -> None:
        """Watch it no longer; to be called before it is closed."""
        self._epoll.unregister(fd)

    def remind(self) -> None:
        """Make :meth:`wait` return :data:`REMINDER` within :data:`DELAY`, once."""
        if not self._reminding:
            self._reminding = True
            self._timer.start()

    def wait(self, timeout: float | None = None) -> list[int]:
        """Wait until an armed descriptor is readable, a reminder is due, or :meth:`wake` comes."""
        found = [fd for fd, _ in self._epoll.poll(timeout)]
        if self._bell.fd in found:
            self._bell.quiet()
        if self._timer.fd in found:
            self._timer.clear()
            # Before the caller looks at what it is reminded of: whoever comes later starts anew.
            self._reminding = False
            found.append(REMINDER)
        return found

    def wake(self) -> None:
        """Make :meth:`wait` return."""
        self._bell.ring()

    def close(self) -> None:
        """Free this process's descriptors. In a forked child the set itself is the parent's."""
        self._epoll.close()
        self._bell.close()
        self._timer.close()


# One that takes no descriptor: when they are used up, those that are left must still be watched.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class SelectorWatch:
    """Where there is no epoll: the waiting thread is woken to look at the set again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: set[int] = set()
        self._reminding = False
        self._bell = _Bell()

    def arm(self, fd: int) -> None:
        """Watch a descriptor."""
        with self._lock:
            self._armed.add(fd)
        self._bell.ring()

    def disarm(self, fd: int) -> None:
        """Watch it no longer; to be called before it is closed."""
        with self._lock:
            self._armed.discard(fd)

    def remind(self) -> None:
        """Make :meth:`wait` return :data:`REMINDER`, once."""
        self._reminding = True
        self._bell.ring()

    def wait(self, timeout: float | None = None) -> list[int]:
        """Wait until an armed descriptor is readable, a reminder is due, or :meth:`wake` comes."""
        with _Selector() as selector:
            selector.register(self._bell.fd, selectors.EVENT_READ)
            # Under the lock nothing armed can be closed, so every descriptor is still the one.
            with self._lock:
                for fd in self._armed:
                    selector.register(fd, selectors.EVENT_READ)
            found = [key.fd for key, _ in selector.select(timeout)]
        if self._bell.fd in found:
            self._bell.quiet()
        if self._reminding:
            self._reminding = False
            found.append(REMINDER)
        return found

    def wake(self) -> None:
        """Make :meth:`wait` return."""
        self._bell.ring()

    def close(self) -> None:
        """Free this process's descriptors."""
        self._bell.close()


def make_watch() -> Watch:
    """Make the best watch this platform has.

    :raises OSError: This process, or the system, has no more descriptors.
    """
    if hasattr(select, "epoll"):
        try:
            return EpollWatch()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
    return SelectorWatch()
