"""Decide how a message looks on the socket between two processes, and how to wait for one.

Knows no task, no worker and no pickle: a message is a kind, a number and bytes, with which
descriptors may travel.
"""

from __future__ import annotations

import array
import os
import select
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar

from flask_concurrency.vocabulary.errors import ExecutorError

T = TypeVar("T")

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
RECYCLE: Final = 0x80  # added to one of the two: the worker is to be replaced
# From the owner to the launcher of its workers ...
LAUNCH: Final = 7  # carries the worker's end of a socket pair
KILL: Final = 8
QUIT: Final = 9
# ... and back.
EXITED: Final = 10  # the payload is the exit code as text
LAUNCHER_FAILED: Final = 11
LAUNCHER_UNFIT: Final = 13  # it must not be forked; the payload says why

INSTANT: Final = struct.Struct("<d")
"""A deadline, by the monotonic clock, which all processes of a host share."""


def until(at: float) -> bytes:
    """Make the message that gives the next task a deadline."""
    return HEADER.pack(UNTIL, 0, INSTANT.size) + INSTANT.pack(at)


Frame: TypeAlias = "tuple[int, int, bytes | bytearray]"

MAX_SHARED: Final = 8  # arrays that many tasks see, in one call
MAX_DESCRIPTORS: Final = 2 + MAX_SHARED  # that travel with one message

READ_CAN_WAIT: Final = hasattr(select, "poll")
"""Whether :meth:`Channel.stop_reading` and signals end a read that waits; not known of Windows."""

_CHUNK = 65536
_CHUNKS: Final = (_CHUNK,)
_SMALL = 16384
_DESCRIPTOR: Final = struct.calcsize("i")
_BUFFERS: Final = 0x40  # added to the kind: the payload is a BufferMessage and arrives as Received
_CARRIES: Final = 0x20  # added as well: descriptors came along
_PASSES: Final = hasattr(socket, "send_fds")
_ROOM: Final = socket.CMSG_SPACE(MAX_DESCRIPTORS * _DESCRIPTOR) if _PASSES else 0
_ROOMS: Final = (_ROOM,)


class BufferMessage(bytes):
    """A payload in several parts, with which descriptors may travel.

    It is ``bytes`` so that code that only passes a payload on need not know.
    """

    def parts(self) -> tuple[Sequence[bytes | memoryview], Sequence[int]]:
        """Return what is sent, and the descriptors that go along. Called by the sender."""
        raise NotImplementedError


class Received(bytearray):
    """The payload of a :class:`BufferMessage` on the other side, in one piece.

    :ivar descriptors: What came along; closed with the payload unless taken.
    """

    descriptors: tuple[int, ...] = ()
    _adopted: list[Any] | None = None

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

    def adopt_descriptors(self, count: int, kind: Callable[[int], T]) -> Sequence[T]:
        """Return objects that own the descriptors; the same ones if it is called again.

        :raises ExecutorError: Some that were sent did not arrive.
        """
        if self._adopted is None:
            self._adopted = []
        if len(self._adopted) != count:
            if len(self.descriptors) != count:
                self.take_descriptors(count)  # raises
            self._adopted.extend(map(kind, self.descriptors))
        self.descriptors = ()
        return self._adopted

    def __del__(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


class _WithDescriptors:
    """The header of a message with which descriptors travel.

    :ivar rights: What ``sendmsg`` takes to send them.
    """

    __slots__ = ("header", "rights")

    def __init__(self, header: bytes, descriptors: tuple[int, ...]) -> None:
        self.header = header
        self.rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]

    def __len__(self) -> int:
        return len(self.header)

    def __getitem__(self, part: slice) -> bytes:
        return self.header[part]


_Piece: TypeAlias = "bytes | memoryview | _WithDescriptors"


class Channel:
    """One end of a socket pair. Used by one thread at a time; the readers decide which.

    An exception that a signal handler raises between any two lines here loses no byte: what a
    system call returns is stored by the same C call that made it (``extend`` of a ``map``), so
    :meth:`peek` and :meth:`flush` go on where an interrupted thread stopped.

    :ivar fd: Its descriptor, another's perhaps once it is closed.
    :ivar begun: Number of the last message that :meth:`send` has begun to write.
    """

    def __init__(self, end: socket.socket) -> None:
        # An application that called socket.setdefaulttimeout() means its own sockets.
        end.setblocking(True)
        self._socket = end
        self._arrived: list[tuple[bytes, Any, int, Any]] = []  # what recvmsg() returned
        self._frame: Frame | None = None  # complete, and not consumed
        self._partial: tuple[int, int, bytearray] | None = None
        self._filled = 0  # bytes of the partial frame that are there
        self._counts: list[int] = []
        self._unsent: Sequence[_Piece] = ()
        self._sent: list[int] = []
        self.begun: int | None = None
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
        if isinstance(payload, BufferMessage):
            parts, descriptors = payload.parts()
            length = sum(map(len, parts))
            pieces: Sequence[_Piece]
            if descriptors:
                header = ahead + HEADER.pack(kind | _BUFFERS | _CARRIES, number, length)
                pieces = [_WithDescriptors(header, tuple(descriptors)), *parts]
            else:
                pieces = [ahead + HEADER.pack(kind | _BUFFERS, number, length), *parts]
        else:
            header = ahead + HEADER.pack(kind, number, len(payload))
            # Of a large one, one more system call costs less than one more copy.
            pieces = [header + payload] if len(payload) <= _SMALL else [header, payload]
        self._unsent, self.begun = pieces, number
        self.flush()

    def flush(self) -> None:
        """Write what is left of the message that :meth:`send` began.

        :raises OSError: The other side is gone.
        """
        while self._unsent:
            piece = self._unsent[0]
            if not self._sent:
                if isinstance(piece, _WithDescriptors):  # so few bytes go whole or not at all
                    self._sent.extend(map(self._socket.sendmsg, ([piece.header],), (piece.rights,)))
                else:
                    self._sent.extend(map(self._socket.send, (piece,)))
            if self._sent[0] == len(piece) and len(self._unsent) == 1:  # as for most
                self._unsent, self._sent = (), []
                return
            rest = piece[self._sent[0] :] if self._sent[0] < len(piece) else b""
            left = [rest, *self._unsent[1:]] if len(rest) else self._unsent[1:]
            self._unsent, self._sent = left, []

    def receive(self) -> Frame | None:
        """Read one message, waiting for it; ``None`` if the other side is gone.

        :raises ConnectionResetError: The other side is gone and never read what was sent to it
            (so Linux reports it).
        :raises EOFError: The other side went in the middle of a message.
        """
        frame = self.peek()
        self._frame = None
        return frame

    def peek(self) -> Frame | None:
        """Read likewise, and return the same message again until :meth:`consume`."""
        if self._frame is None and self._partial is None:
            self._read_header()
        if self._partial is not None:
            self._read_rest(*self._partial)
        return self._frame

    def consume(self) -> bool:
        """Drop the message that was read; return whether some of a next one was read with it."""
        self._frame = None
        return bool(self._arrived)

    def _read_header(self) -> None:
        """Read on until a frame or the beginning of a long one is there, or the end has come."""
        if not self._arrived:
            if _PASSES:
                self._arrived.extend(map(self._socket.recvmsg, _CHUNKS, _ROOMS))
            else:
                self._arrived.extend(self._read_some())
        head = self._arrived[0][0]
        while len(head) < HEADER.size or len(self._arrived) > 1:
            head = b"".join([entry[0] for entry in self._arrived])
            if not self._arrived[-1][0]:
                if head:
                    raise EOFError("The other process ended in the middle of a message.")
                return  # the end, as often as it is asked for
            if len(head) >= HEADER.size:
                break
            self._arrived.extend(self._read_some())
        kind, number, length = HEADER.unpack_from(head)
        end = HEADER.size + length
        if len(head) == end and not kind & _BUFFERS:  # as for most
            self._frame, self._arrived = (kind, number, head[HEADER.size :]), []
            return
        # Of one message at most: the system ends a read behind one that carries some.
        ancillary = [content for entry in self._arrived for content in entry[1]]
        after = () if kind & _CARRIES else ancillary
        rest = [(head[end:], after, 0, None)] if len(head) > end else []
        if not kind & _BUFFERS and len(head) >= end:
            self._frame, self._arrived = (kind, number, head[HEADER.size : end]), rest
            return
        start = head[HEADER.size : end]
        filled = len(start)
        if not kind & _BUFFERS:
            buffer = bytearray(length)
            buffer[:filled] = start
            self._partial, self._filled, self._arrived = (kind, number, buffer), filled, rest
            return
        received = Received(length)
        received[:filled] = start
        descriptors: tuple[int, ...] = ()
        if kind & _CARRIES:
            for _, _, content in ancillary:
                descriptors += struct.unpack(f"{len(content) // _DESCRIPTOR}i", content)
        partial = kind & ~(_BUFFERS | _CARRIES), number, received
        self._partial, self._filled, self._arrived, received.descriptors = (
            partial,
            filled,
            rest,
            descriptors,
        )

    def _read_rest(self, kind: int, number: int, buffer: bytearray) -> None:
        while self._filled < len(buffer):
            if not self._counts:
                view = memoryview(buffer)[self._filled :]
                self._counts.extend(map(self._socket.recv_into, (view,)))
            count = self._counts[0]
            if not count:
                self._partial = None
                raise EOFError("The other process ended in the middle of a message.")
            self._filled, self._counts = self._filled + count, []
        self._frame, self._partial = (kind, number, buffer), None

    def _read_some(self) -> Iterable[tuple[bytes, Any, int, Any]]:
        """Make the system call lazily, for ``extend``: its result is stored as it is returned."""
        if _PASSES:
            return map(self._socket.recvmsg, (_CHUNK,), (_ROOM,))
        return zip(map(self._socket.recv, (_CHUNK,)), ((),), (0,), (None,), strict=True)

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
        while len(head) < HEADER.size:
            more = self._socket.recv(HEADER.size - len(head))
            if not more:
                return None
            head += more
        kind, number, _ = HEADER.unpack(head)
        return kind, number, fds[0] if fds else None

    @property
    def pending(self) -> bool:
        """Whether a message that followed the last one was read along with it."""
        return bool(self._arrived)

    @property
    def has_read(self) -> bool:
        """Whether something of a message was read, which is not consumed."""
        return self._frame is not None or self._partial is not None or bool(self._arrived)

    def readable(self, timeout: float | None = 0.0) -> bool:
        """Wait until there is something to read, or the other side is gone."""
        return self.has_read or bool(wait_readable([self], timeout))

    def await_reply(self, timeout: float | None) -> bool:
        """Wait likewise, as the one thread that uses this end; quicker, for all is prepared.

        :param timeout: Seconds to wait at most; ``None`` waits for ever.
        """
        return self._wait(timeout)

    def stop_reading(self) -> None:
        """Let a reader see the end once it has read what is already here."""
        self._shut(socket.SHUT_RD)

    def close(self) -> None:
        """Shut the connection down: the other side sees the end though processes have copies."""
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
        """Make a function that waits until a descriptor can be read, and returns whether it can.

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
        # poll() rounds milliseconds up, so no thread wakes before the time.
        found = poll.poll(None if timeout is None else timeout * 1000)
        if len(channels) == 1:
            return channels if found else ()
        numbers = {number for number, _ in found}
        return [channel for channel in channels if channel.fd in numbers]

else:  # Windows

    def make_wait(fd: int) -> Callable[[float | None], bool]:
        """Make a function that waits until a descriptor can be read, and returns whether it can.

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
