"""Messages in several parts, and the descriptors that travel with them."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence

import pytest

import process_watching as watching
from flask_concurrency.executors.processes.wire import (
    CALL,
    RESULT,
    UNTIL,
    BufferMessage,
    Channel,
    Received,
)
from flask_concurrency.vocabulary.errors import ExecutorError


class Parts(BufferMessage):
    """A payload of the parts it is given."""

    given: list[bytes | memoryview]
    descriptors: Sequence[int] = ()

    @classmethod
    def of(cls, *parts: bytes, descriptors: Sequence[int] = ()) -> Parts:
        parcel = cls()
        parcel.given = list(parts)
        parcel.descriptors = descriptors
        return parcel

    def parts(self) -> tuple[Sequence[bytes | memoryview], Sequence[int]]:
        return self.given, self.descriptors


class CutOff(bytes):
    """Announces more than is sent."""

    def __len__(self) -> int:
        return 100


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """Both ends of a channel; neither leaves a descriptor behind."""
    before = watching.descriptors()
    first, second = map(Channel, socket.socketpair())
    yield first, second
    first.close()
    second.close()
    assert watching.descriptors() <= before


def receive(channel: Channel) -> tuple[int, int, Received]:
    frame = channel.receive()
    assert frame is not None
    assert isinstance(frame[2], Received)
    return frame[0], frame[1], frame[2]


@pytest.mark.parametrize("sizes", [(), (1,), (10, 0, 20), (70_000, 1), (1, 1_000_000, 200_000)])
def test_parts_arrive_as_one(ends: tuple[Channel, Channel], sizes: tuple[int, ...]) -> None:
    """Under the kind and number they were sent with."""
    ours, theirs = ends
    parts = [os.urandom(size) for size in sizes]
    sending = threading.Thread(target=theirs.send, args=(RESULT, 7, Parts.of(*parts)))
    sending.start()
    kind, number, payload = receive(ours)
    assert (kind, number, bytes(payload)) == (RESULT, 7, b"".join(parts))
    sending.join()
    assert not ours.pending


def test_descriptors_arrive_with_their_own_message(ends: tuple[Channel, Channel]) -> None:
    """Though smaller messages stand before and after it, and all are read together."""
    ours, theirs = ends
    read, write = os.pipe()
    theirs.send(UNTIL, payload=b"soon")
    theirs.send(CALL, 1, Parts.of(b"x" * 100, b"y", descriptors=[write]))
    theirs.send(CALL, 2, Parts.of(b"none"))
    theirs.send(CALL, 3, b"plain")
    assert ours.receive() == (UNTIL, 0, b"soon")
    _, _, received = receive(ours)
    assert bytes(received) == b"x" * 100 + b"y"
    (arrived,) = received.take_descriptors(1)
    os.write(arrived, b"through")
    assert os.read(read, 7) == b"through"
    assert receive(ours)[2].take_descriptors(0) == ()
    assert ours.receive() == (CALL, 3, b"plain")
    for descriptor in (read, write, arrived):
        os.close(descriptor)


def test_descriptors_that_nobody_takes_are_closed(ends: tuple[Channel, Channel]) -> None:
    """The reply of a task that was given up is thrown away as it is."""
    ours, theirs = ends
    read, write = os.pipe()
    theirs.send(CALL, 1, Parts.of(b"x", descriptors=[write, write]))
    os.close(write)
    received = receive(ours)[2]
    assert len(received.descriptors) == 2
    del received
    assert os.read(read, 1) == b""  # the other end is closed everywhere
    os.close(read)


def test_descriptors_that_are_lost_are_missed(ends: tuple[Channel, Channel]) -> None:
    """The system drops them where a process may open no more files."""
    ours, theirs = ends
    theirs.send(CALL, 1, Parts.of(b"x"))
    with pytest.raises(ExecutorError, match=r"0 of 1 descriptors .* limit of open files"):
        receive(ours)[2].take_descriptors(1)


def test_the_end_of_a_message_that_never_comes_is_noticed(ends: tuple[Channel, Channel]) -> None:
    """And what came along before is closed."""
    ours, theirs = ends
    read, write = os.pipe()
    theirs.send(CALL, 1, Parts.of(CutOff(b"x" * 10), descriptors=[write]))
    os.close(write)
    theirs.close()
    with pytest.raises(EOFError, match="in the middle of a message"):
        ours.receive()
    assert os.read(read, 1) == b""
    os.close(read)
