"""Find out how long requests wait by looking at all connections of this process.

For servers that hand over neither the socket of a request nor its port. Knows descriptors; knows
no server and no request. It is assumed that requests come in as they arrived. Where they do not,
one is given the age of another.

A connection waits if what came in last has not been answered. Some of those waiting are inside the
app; those are the ones that were given to a request before. So a connection that never
answers, such as a client that listens, is given to one request and then to no other.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.runtime.tcp_info import (
    LISTEN,
    SIZE,
    UNKNOWN,
    Arrival,
    waits_since,
)
from flask_concurrency.vocabulary.clock import Clock, monotonic

if TYPE_CHECKING:
    import ctypes

EVERY: Final = 0.05
"""Seconds between two looks: one takes 0.3 ms for a hundred connections."""

SAME: Final = 0.02
"""Seconds by which two readings of one arrival may differ: the kernel's clock ticks in 1 to 10 ms,
and ours goes on between reading the two."""

OLDEST: Final = 10.0
"""Seconds after which what waits is not a request that waits to come in."""

_DIRECTORY: Final = "/proc/self/fd"
_AT: Final = struct.Struct(
    "!H"
)  # the port, in sockaddr_in and sockaddr_in6 alike, after the family


class Estimate(Arrival):
    """The age of a request that came in after the last look."""

    __slots__ = ()


class Waiting(NamedTuple):
    """A connection on which something waits.

    :ivar descriptor: Which.
    :ivar arrived_at: When its last bytes came in.
    """

    descriptor: int
    arrived_at: float


Look = Callable[[float], list[Waiting]]
"""Gives all that waits at an instant, in any order."""


class OwnConnections:
    """Gives each request that comes in the age of the one that has waited longest.

    :param look: Finds what waits. Default: asks the kernel about every descriptor.
    :param clock: Source of the time. Threads wait here for each other's look, and for the
        interpreter before: the instant at which a request came to a thread is of long ago by then.
    """

    def __init__(self, look: Look | None = None, clock: Clock = monotonic) -> None:
        self._look = waiting_connections if look is None else look
        self._clock = clock
        self._reset()
        call_in_child(self, OwnConnections._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._queue: deque[Waiting] = deque()
        self._given: dict[int, float] = {}
        self._without = 0
        self._last_age = 0.0

    @property
    def waits(self) -> bool:
        """Whether the last look found some that have not come in since."""
        return bool(self._queue)

    def arrival(self) -> Arrival:
        """The age of the request that comes in now. The caller reports its end by :meth:`ended`.

        One that arrived after the last look has waited for no longer than since then, and for about
        as long as the one before it. Were it taken for new, requests would seem half as old as they
        are: on granian, at three times what it can do, a greedy client among fifty then took 8 to
        10 % of all answers in place of 5.

        :raises OSError: The kernel refuses.
        """
        with self._lock:
            now = self._clock()
            if now - self._looked_at >= EVERY:
                self._looked_at = now
                self._queue = self._waiting(now)
                if not self._queue:
                    self._last_age = 0.0
                now = self._clock()
            if not self._queue:
                self._without += 1
                age = min(self._last_age, now - self._looked_at)
                return Estimate(age, False) if age else UNKNOWN
            descriptor, arrived_at = self._queue.popleft()
            self._given[descriptor] = arrived_at
            self._last_age = max(0.0, now - arrived_at)
            return Arrival(self._last_age, False)

    def idle(self) -> Arrival:
        """Have a request come in that cannot have waited, without a look."""
        with self._lock:
            self._without += 1
            self._last_age = 0.0
        return UNKNOWN

    def ended(self, arrival: Arrival) -> None:
        """A request has been answered."""
        if arrival is UNKNOWN or isinstance(arrival, Estimate):
            with self._lock:
                self._without = max(0, self._without - 1)

    def _waiting(self, now: float) -> deque[Waiting]:
        """What waits and was not given to a request before, oldest first."""
        found = [each for each in self._look(now) if now - each.arrived_at <= OLDEST]
        given = self._given
        self._given = {
            descriptor: arrived_at
            for descriptor, arrived_at in found
            if abs(given.get(descriptor, -SAME) - arrived_at) <= SAME
        }
        new = [each for each in found if each.descriptor not in self._given]
        new.sort(key=lambda each: each.arrived_at)
        # So many are inside the app and were given none: those that came first.
        return deque(new[self._without :])


def waiting_connections(now: float) -> list[Waiting]:
    """All connections of this process, to a port it listens on, with something that waits.

    :param now: The monotonic instant.
    :raises OSError: The kernel does not say, or the process listens on no TCP port.
    """
    read = _Reader()
    info = read.info
    ports = set()
    waiting = []
    for name in os.listdir(_DIRECTORY):
        descriptor = int(name)
        if not read.connection(descriptor):
            continue
        age = waits_since(info)
        if age is not None:
            waiting.append(Waiting(descriptor, now - age))
        elif info[0] == LISTEN:
            ports.add(read.local_port(descriptor))
    if not ports:
        raise OSError(errno.EOPNOTSUPP, "This process listens on no TCP port.")
    return [each for each in waiting if read.local_port(each.descriptor) in ports]


@cache
def _library() -> ctypes.PyDLL:
    import ctypes  # takes some milliseconds, which most servers need not spend

    try:
        return ctypes.PyDLL(None)
    except (OSError, TypeError) as error:
        raise OSError(errno.ENOSYS, f"The C library cannot be called: {error}") from error


class _Reader:
    """Two calls of the C library: Python's own would need a socket object for each descriptor.

    :raises OSError: The C library cannot be called.
    """

    def __init__(self) -> None:
        import ctypes

        library = _library()
        self._getsockopt = library.getsockopt
        self._getsockname = library.getsockname
        buffer = ctypes.create_string_buffer(SIZE)
        self.info = memoryview(buffer).cast("B")
        self._buffer = buffer
        self._address = ctypes.create_string_buffer(128)
        self._length = ctypes.c_uint()
        self._at = ctypes.byref(self._length)

    def connection(self, descriptor: int) -> bool:
        """Read into :attr:`info`; false for what is no TCP socket."""
        self._length.value = SIZE
        failed = self._getsockopt(
            descriptor, socket.IPPROTO_TCP, socket.TCP_INFO, self._buffer, self._at
        )
        return not failed and self._length.value == SIZE

    def local_port(self, descriptor: int) -> int | None:
        """``None`` for what has none."""
        self._length.value = len(self._address)
        if self._getsockname(descriptor, self._address, self._at):
            return None
        port: int = _AT.unpack_from(self._address.raw, 2)[0]
        return port
