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
        """Free the descriptor; a second call frees no other's that has got its number."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


TIMER: Final = -1
"""Stands among the descriptors that :meth:`Watch.wait` returns for a reminder that is due."""

DELAY: Final = 0.002
"""Seconds until a reminder is due, at most; where there is no timer, it is due at once."""


class Watch(Protocol):
    """The descriptors that :meth:`wait` returns once they are readable.

    ``register`` and ``unregister`` take effect on a :meth:`wait` that is already going on. What
    ``wait`` returns may have been unregistered, read or closed by the time the caller looks at it.
    """

    def register(self, fd: int) -> None:
        """Watch a descriptor; one that is watched already stays so."""

    def unregister(self, fd: int) -> None:
        """Watch it no longer; to be called before it is closed."""

    def remind(self, *, again: bool = False) -> None:
        """Make :meth:`wait` return :data:`TIMER` within :data:`DELAY`, once.

        :param again: Even if that is to come already: the thread that said so was interrupted.
        """

    def wait(self, timeout: float | None = None) -> list[int]:
        """Wait until a registered descriptor is readable, a reminder is due, or :meth:`wake` comes.

        :param timeout: Seconds to wait at most.
        """

    def wake(self) -> None:
        """Make :meth:`wait` return. Takes no lock, so a finalizer may call it."""

    def close(self) -> None:
        """Free this process's descriptors, and change nothing for a process it was forked from.

        A second call changes nothing: each child that is forked later closes once more.
        """


class _WakeupPair:
    """A socket pair with which any thread can wake the one that waits."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self.fd = self._reader.fileno()

    def wake(self) -> None:
        with suppress(OSError):  # buffer full: a wake-up is pending; closed: no thread waits
            self._writer.send(b"\0")

    def drain(self) -> None:
        with suppress(OSError):
            self._reader.recv(4096)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


class EpollWatch:
    """The kernel keeps the set and the time, so a change is cheap and wakes no thread.

    :raises OSError: The kernel lacks one of them.
    """

    def __init__(self) -> None:
        self._timer = Timer(DELAY)
        self._reminding = False
        try:
            self._epoll = select.epoll()
            self._wakeup = _WakeupPair()
        except BaseException:
            self._timer.close()
            raise
        self.register(self._wakeup.fd)
        self.register(self._timer.fd)

    def register(self, fd: int) -> None:
        """Watch a descriptor; one that is watched already stays so."""
        with suppress(FileExistsError):  # an interrupted thread was here before
            self._epoll.register(fd, select.EPOLLIN)

    def unregister(self, fd: int) -> None:
        """Watch it no longer; to be called before it is closed."""
        with suppress(FileNotFoundError):
            self._epoll.unregister(fd)

    def remind(self, *, again: bool = False) -> None:
        """Make :meth:`wait` return :data:`TIMER` within :data:`DELAY`, once."""
        if again or not self._reminding:
            self._reminding = True
            self._timer.start()

    def wait(self, timeout: float | None = None) -> list[int]:
        """Wait until a descriptor is readable, a reminder is due, or :meth:`wake` comes."""
        found = [fd for fd, _ in self._epoll.poll(timeout)]
        if self._wakeup.fd in found:
            self._wakeup.drain()
            found.remove(self._wakeup.fd)
        if self._timer.fd in found:
            found.remove(self._timer.fd)
            self._timer.clear()
            # Before the caller looks at what it is reminded of: a later call starts the timer anew.
            self._reminding = False
            found.append(TIMER)
        return found

    def wake(self) -> None:
        """Make :meth:`wait` return."""
        self._wakeup.wake()

    def close(self) -> None:
        """Free this process's descriptors. In a forked child the set itself is the parent's."""
        self._epoll.close()
        self._wakeup.close()
        self._timer.close()


# A selector that needs no descriptor of its own: it must work when they are used up.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class SelectorWatch:
    """Where there is no epoll: the waiting thread is woken to look at the set again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._registered: set[int] = set()
        self._reminding = False
        self._wakeup = _WakeupPair()

    def register(self, fd: int) -> None:
        """Watch a descriptor; one that is watched already stays so."""
        with self._lock:
            self._registered.add(fd)
        self._wakeup.wake()

    def unregister(self, fd: int) -> None:
        """Watch it no longer; to be called before it is closed."""
        with self._lock:
            self._registered.discard(fd)

    def remind(self, *, again: bool = False) -> None:
        """Make :meth:`wait` return :data:`TIMER`, once."""
        self._reminding = True
        self._wakeup.wake()

    def wait(self, timeout: float | None = None) -> list[int]:
        """Wait until a descriptor is readable, a reminder is due, or :meth:`wake` comes."""
        with _Selector() as selector:
            selector.register(self._wakeup.fd, selectors.EVENT_READ)
            # Under the lock nothing registered can be closed, so every descriptor is still the one.
            with self._lock:
                for fd in self._registered:
                    selector.register(fd, selectors.EVENT_READ)
            found = [key.fd for key, _ in selector.select(timeout)]
        if self._wakeup.fd in found:
            self._wakeup.drain()
            found.remove(self._wakeup.fd)
        if self._reminding:
            self._reminding = False
            found.append(TIMER)
        return found

    def wake(self) -> None:
        """Make :meth:`wait` return."""
        self._wakeup.wake()

    def close(self) -> None:
        """Free this process's descriptors."""
        self._wakeup.close()


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
