"""Decide how one thread watches many descriptors while other threads change which.

Knows descriptors only, neither workers nor messages.
"""

from __future__ import annotations

import select
import selectors
import socket
import threading
from contextlib import suppress
from typing import Protocol


class Watch(Protocol):
    """The descriptors that are armed: those that :meth:`wait` returns once they are readable.

    ``arm`` and ``disarm`` take effect on a :meth:`wait` that is already going on. What ``wait``
    returns may have been disarmed, read or closed by the time the caller looks at it.
    """

    def arm(self, fd: int) -> None:
        """Watch a descriptor."""

    def disarm(self, fd: int) -> None:
        """Watch it no longer; to be called before it is closed."""

    def wait(self) -> list[int]:
        """Wait until an armed descriptor is readable, or :meth:`wake` is called."""

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

    def fileno(self) -> int:
        return self._ear.fileno()

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
    """The kernel keeps the set, so a change costs a microsecond and wakes nobody."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._bell = _Bell()
        self.arm(self._bell.fileno())

    def arm(self, fd: int) -> None:
        """Watch a descriptor."""
        self._epoll.register(fd, select.EPOLLIN)

    def disarm(self, fd: int) -> None:
        """Watch it no longer; to be called before it is closed."""
        self._epoll.unregister(fd)

    def wait(self) -> list[int]:
        """Wait until an armed descriptor is readable, or :meth:`wake` is called."""
        found = [fd for fd, _ in self._epoll.poll()]
        if self._bell.fileno() in found:
            self._bell.quiet()
        return found

    def wake(self) -> None:
        """Make :meth:`wait` return."""
        self._bell.ring()

    def close(self) -> None:
        """Free this process's descriptors. In a forked child the set itself is the parent's."""
        self._epoll.close()
        self._bell.close()


class SelectorWatch:
    """Where there is no epoll: the waiting thread is woken to look at the set again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: set[int] = set()
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

    def wait(self) -> list[int]:
        """Wait until an armed descriptor is readable, or :meth:`wake` is called."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell.fileno(), selectors.EVENT_READ)
            # Under the lock nothing armed can be closed, so every descriptor is still the one.
            with self._lock:
                for fd in self._armed:
                    selector.register(fd, selectors.EVENT_READ)
            found = [key.fd for key, _ in selector.select()]
        if self._bell.fileno() in found:
            self._bell.quiet()
        return found

    def wake(self) -> None:
        """Make :meth:`wait` return."""
        self._bell.ring()

    def close(self) -> None:
        """Free this process's descriptors."""
        self._bell.close()


def make_watch() -> Watch:
    """Make the best watch this platform has."""
    return EpollWatch() if hasattr(select, "epoll") else SelectorWatch()
