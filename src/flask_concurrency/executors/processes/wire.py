"""Decide how a message looks on the socket between two processes, and how to wait for one.

Knows no task, no worker and no pickle: a message is a kind, a number and bytes, with which
descriptors may travel.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

from flask_concurrency.vocabulary.errors import ExecutorError

HEADER: Final = struct.Struct("<BQQ")
"""Kind, number (of the task or of the worker), length of the payload in bytes."""

# From the owner to a worker.
SETUP: Final = 1  # sys.path, working directory, initializer; the first message a worker gets
CALL: Final = 2  # one task
UNTIL: Final = 12  # the deadline of the task that comes next; not answered
# From a worker to its owner. It speaks only when spoken to: one message for each it got.
READY: Final = 3
START_FAILED: Final = 4
RESULT: Final = 5
ERROR: Final = 6
WORN: Final = 0x80  # added to one of the two: the worker is to be replaced
# From the owner to whoever starts and ends its workers ...
LAUNCH: Final = 7  # carries the worker's end of a socket pair
KILL: Final = 8
QUIT: Final = 9
# ... and back.
EXITED: Final = 10  # the payload is the exit code as text
LAUNCHER_FAILED: Final = 11

INSTANT: Final = struct.Struct("<d")
"""A deadline, by the monotonic clock, which all processes of a host share."""


def until(at: float) -> bytes:
    """Make the message that gives the next task a deadline."""
    return HEADER.pack(UNTIL, 0, INSTANT.size) + INSTANT.pack(at)


Frame: TypeAlias = "tuple[int, int, bytes | bytearray]"

MAX_DESCRIPTORS: Final = 2  # that travel with one message

_CHUNK = 65536
_SMALL = 16384
_DESCRIPTOR: Final = struct.calcsize("i")
_PARCEL: Final = 0x40  # added to the kind: the payload is a Parcel and arrives as Received
_CARRIES: Final = 0x20  # added as well: descriptors came along
_PASSES: Final = hasattr(socket, "send_fds")
_ROOM: Final = socket.CMSG_SPACE(MAX_DESCRIPTORS * _DESCRIPTOR) if _PASSES else 0


class Parcel(bytes):
    """A payload in several parts, with which descriptors may travel.

    It is ``bytes`` so that whoever only hands a payload on need not know.
    """

    def parts(self) -> tuple[Sequence[bytes | memoryview], Sequence[int]]:
        """Return what is sent, and the descriptors that go along. Called by the sender."""
        raise NotImplementedError


class Received(bytearray):
    """The payload of a :class:`Parcel` on the other side, in one piece.

    :ivar descriptors: What came along; closed with the payload unless taken.
    """

    descriptors: tuple[int, ...] = ()

    def take_descriptors(self, count: int) -> tuple[int, ...]:
        """Return the descriptors, which are the caller's from now on.

        :raises ExecutorError: Some that were sent did not arrive.
        """
        if len(self.descriptors) != count:
            raise ExecutorError(
                f"{len(self.descriptors)} of {count} descriptors of shared memory have arrived in "
                f"process {os.getpid()}. Raise its limit of open files."
            )
        descriptors, self.descriptors = self.descriptors, ()
        return descriptors

    def __del__(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


class Channel:
    """One end of a socket pair. Used by one thread at a time; who that is, others decide.

    :ivar fd: Its descriptor, another's perhaps once it is closed.
    """

    def __init__(self, end: socket.socket) -> None:
        # An application that called socket.setdefaulttimeout() means its own sockets.
        end.setblocking(True)
        self._socket = end
        self._rest = b""
        self._descriptors: tuple[int, ...] = ()  # came along with what is read next
        self.fd = end.fileno()
        self._wait = make_wait(self.fd)

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self.fd

    def send(self, kind: int, number: int = 0, payload: bytes = b"", *, ahead: bytes = b"") -> None:
        """Write one message, waiting until the other side has taken it up.

        :param ahead: Another message that goes before it, in the same system call.
        :raises OSError: The other side is gone.
        """
        if isinstance(payload, Parcel):
            self._send_parcel(kind | _PARCEL, number, payload, ahead)
            return
        header = ahead + HEADER.pack(kind, number, len(payload))
        if len(payload) <= _SMALL:
            self._socket.sendall(header + payload)
        else:  # one more system call costs less than one more copy
            self._socket.sendall(header)
            self._socket.sendall(payload)

    def _send_parcel(self, kind: int, number: int, parcel: Parcel, ahead: bytes) -> None:
        parts, descriptors = parcel.parts()
        length = sum(map(len, parts))
        if not descriptors:
            self._socket.sendall(ahead + HEADER.pack(kind, number, length))
        else:  # so few bytes are taken whole or not at all
            header = ahead + HEADER.pack(kind | _CARRIES, number, length)
            socket.send_fds(self._socket, [header], list(descriptors))
        for part in parts:
            self._socket.sendall(part)

    def receive(self) -> Frame | None:
        """Read one message, waiting for it; ``None`` if the other side is gone.

        :raises ConnectionResetError: The other side is gone and never read what was sent to it
            (so Linux reports it).
        :raises EOFError: The other side went in the middle of a message.
        """
        head = self._rest or self._read_some()
        if not head:
            return None
        if len(head) < HEADER.size:
            head += self._exactly(HEADER.size - len(head))
        kind, number, length = HEADER.unpack_from(head)
        end = HEADER.size + length
        if kind & _PARCEL:
            self._rest = head[end:]
            received = Received(length)
            if kind & _CARRIES:
                received.descriptors, self._descriptors = self._descriptors, ()
            self._fill(received, head[HEADER.size : end])
            return kind & ~(_PARCEL | _CARRIES), number, received
        if len(head) >= end:
            self._rest = head[end:]
            return kind, number, head[HEADER.size : end]
        self._rest = b""
        return kind, number, self._exactly(length, head[HEADER.size :])

    def _read_some(self) -> bytes:
        if not _PASSES:
            return self._socket.recv(_CHUNK)
        data, ancillary, _, _ = self._socket.recvmsg(_CHUNK, _ROOM)
        for _, _, content in ancillary:
            # Of one message at most: the system ends a read behind one that carries some.
            self._descriptors = struct.unpack(f"{len(content) // _DESCRIPTOR}i", content)
        return data

    def _exactly(self, size: int, start: bytes = b"") -> bytearray:
        buffer = bytearray(size)
        self._fill(buffer, start)
        return buffer

    def _fill(self, buffer: bytearray, start: bytes) -> None:
        buffer[: len(start)] = start
        view = memoryview(buffer)[len(start) :]
        while view:
            count = self._socket.recv_into(view)
            if not count:
                raise EOFError("The other process ended in the middle of a message.")
            view = view[count:]

    def send_end(self, kind: int, number: int, end: socket.socket) -> None:
        """Write a message that hands a copy of a socket over. POSIX only.

        :raises OSError: The other side is gone.
        """
        socket.send_fds(self._socket, [HEADER.pack(kind, number, 0)], [end.fileno()])

    def receive_end(self) -> tuple[int, int, int | None] | None:
        """Read a message without payload and the descriptor it may carry. POSIX only.

        ``None`` if the other side is gone, whether or not it had read all it was sent.
        """
        try:
            head, fds, _, _ = socket.recv_fds(self._socket, HEADER.size, 1)
        except ConnectionResetError:
            return None
        if not head:
            return None
        if len(head) < HEADER.size:
            head += self._exactly(HEADER.size - len(head))
        kind, number, _ = HEADER.unpack(head)
        return kind, number, fds[0] if fds else None

    @property
    def pending(self) -> bool:
        """Whether a message that followed the last one was read along with it."""
        return bool(self._rest)

    def readable(self, timeout: float | None = 0.0) -> bool:
        """Wait until there is something to read, or the other side is gone."""
        return self.pending or bool(wait_readable([self], timeout))

    def await_reply(self, timeout: float | None) -> bool:
        """Wait likewise, as the one thread that uses this end; quicker, for all is prepared.

        :param timeout: Seconds to wait at most; ``None`` waits for ever.
        """
        return self._wait(timeout)

    def stop_reading(self) -> None:
        """Let a reader see the end once it has read what is already here."""
        self._shut(socket.SHUT_RD)

    def close(self) -> None:
        """Tell the other side that this is the end, whoever else holds a copy of this one."""
        self._shut(socket.SHUT_RDWR)
        self._socket.close()

    def drop(self) -> None:
        """Close this process's copy; the connection goes on for the process it belongs to."""
        self._socket.close()

    def _shut(self, how: int) -> None:
        with suppress(OSError):  # already gone, which is what is wanted
            self._socket.shutdown(how)


if hasattr(select, "poll"):

    def make_wait(fd: int) -> Callable[[float | None], bool]:
        """Make a function that waits until a descriptor can be read, and says whether it can.

        Its channel keeps it, because to prepare the wait takes longer than to look. One thread at a
        time may call it. The argument is seconds to wait at most; ``None`` waits for ever.
        """
        poll = select.poll()
        poll.register(fd, select.POLLIN)

        def wait(timeout: float | None) -> bool:
            return bool(poll.poll(None if timeout is None else timeout * 1000))

        return wait

    def wait_readable(
        channels: Sequence[Channel], timeout: float | None = None
    ) -> Sequence[Channel]:
        """Wait until something can be read from some of ``channels``, and return those.

        :param timeout: Seconds to wait at most; ``None`` waits for ever.
        """
        poll = select.poll()
        for channel in channels:
            poll.register(channel.fd, select.POLLIN)
        # poll() rounds milliseconds up, so nobody wakes before the time.
        found = poll.poll(None if timeout is None else timeout * 1000)
        if len(channels) == 1:
            return channels if found else ()
        numbers = {number for number, _ in found}
        return [channel for channel in channels if channel.fd in numbers]

else:  # Windows

    def make_wait(fd: int) -> Callable[[float | None], bool]:
        """Make a function that waits until a descriptor can be read, and says whether it can.

        The argument is seconds to wait at most; ``None`` waits for ever.
        """

        def wait(timeout: float | None) -> bool:
            return bool(select.select([fd], (), (), timeout)[0])

        return wait

    def wait_readable(
        channels: Sequence[Channel], timeout: float | None = None
    ) -> Sequence[Channel]:
        """Wait until something can be read from some of ``channels``, and return those.

        :param timeout: Seconds to wait at most; ``None`` waits for ever.
        """
        return select.select(channels, (), (), timeout)[0]
