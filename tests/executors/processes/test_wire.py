"""Messages on a socket between two processes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from flask_concurrency.executors.processes.wire import (
    CALL,
    HEADER,
    READ_CAN_WAIT,
    Channel,
    wait_readable,
)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    first, second = map(Channel, socket.socketpair())
    yield first, second
    first.close()
    second.close()


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 65_536 - HEADER.size, 65_536, 1_000_000])
def test_a_message_arrives_as_it_was_sent(ends: tuple[Channel, Channel], size: int) -> None:
    """Whether it fits in one read or not."""
    ours, theirs = ends
    payload = os.urandom(size)
    sending = threading.Thread(target=theirs.send, args=(CALL, 2**40, payload))
    sending.start()
    assert ours.receive() == (CALL, 2**40, payload)
    sending.join()
    assert not ours.pending


def test_messages_that_arrive_together_are_told_apart(ends: tuple[Channel, Channel]) -> None:
    """The rest of a read is kept for the next."""
    ours, theirs = ends
    for number in range(3):
        theirs.send(CALL, number, b"x" * number)
    assert ours.receive() == (CALL, 0, b"")
    assert ours.pending
    assert ours.readable()
    assert ours.receive() == (CALL, 1, b"x")
    assert ours.receive() == (CALL, 2, b"xx")
    assert not ours.pending
    assert not ours.readable()


def test_the_end_of_the_other_side_is_told_from_unread_messages(
    ends: tuple[Channel, Channel],
) -> None:
    """What was never read was never begun; only then may it be given to another."""
    ours, theirs = ends
    theirs.close()
    assert ours.receive() is None

    ours, theirs = map(Channel, socket.socketpair())
    ours.send(CALL, 1, b"unread")
    theirs.close()
    with pytest.raises(ConnectionResetError):
        ours.receive()
    ours.close()


def test_an_end_amid_a_message_is_no_message(ends: tuple[Channel, Channel]) -> None:
    """Half a result is none."""
    ours, theirs = ends
    theirs._socket.sendall(HEADER.pack(CALL, 1, 100) + b"half")
    theirs.close()
    with pytest.raises(EOFError, match="in the middle of a message"):
        ours.receive()


def test_reading_stops_after_what_has_arrived(ends: tuple[Channel, Channel]) -> None:
    """Although another process still holds a copy of the other side."""
    ours, theirs = ends
    theirs.send(CALL, 1, b"last")
    ours.stop_reading()
    assert ours.receive() == (CALL, 1, b"last")
    assert ours.receive() is None


@pytest.mark.skipif(not READ_CAN_WAIT, reason="a read is never waited in here")
def test_reading_stops_where_a_thread_waits_in_it(ends: tuple[Channel, Channel]) -> None:
    """So the caller of a task whose worker is killed learns of it."""
    ours, _ = ends
    frames: list[object] = []
    reader = threading.Thread(target=lambda: frames.append(ours.receive()), daemon=True)
    reader.start()
    ours.stop_reading()
    reader.join(30.0)
    assert frames == [None]


def test_a_socket_crosses_with_its_message(ends: tuple[Channel, Channel]) -> None:
    """So a worker gets its end of a pair that its owner has made."""
    ours, theirs = ends
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs.send_end(CALL, 7, server)
        theirs.send(CALL, 8)
        name = server.getsockname()
    received = ours.receive_end()
    assert received is not None
    kind, number, fd = received
    assert (kind, number) == (CALL, 7)
    with socket.socket(fileno=fd) as copy:
        assert copy.getsockname() == name
    assert ours.receive_end() == (CALL, 8, None)


@pytest.mark.parametrize("unread", [False, True])
def test_the_end_of_an_owner_is_an_end_whatever_it_left_unread(unread: bool) -> None:
    """A forkserver then ends its workers."""
    ours, theirs = map(Channel, socket.socketpair())
    if unread:
        ours.send(CALL, 1, b"unread")
    theirs.close()
    assert ours.receive_end() is None
    ours.close()


def test_a_default_timeout_of_the_application_changes_nothing() -> None:
    """``socket.setdefaulttimeout`` makes new sockets raise where they should wait."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.001)
    try:
        ours, theirs = map(Channel, socket.socketpair())
    finally:
        socket.setdefaulttimeout(before)
    answering = threading.Timer(0.02, theirs.send, (CALL, 1))
    answering.start()
    assert ours.receive() == (CALL, 1, b"")
    answering.join()
    ours.close()
    theirs.close()


def test_waiting_tells_which_channels_can_be_read() -> None:
    """And none at the end of its time."""
    pairs = [tuple(map(Channel, socket.socketpair())) for _ in range(3)]
    ours = [pair[0] for pair in pairs]
    assert list(wait_readable(ours, 0.0)) == []
    assert list(wait_readable(ours[:1], 0.001)) == []
    pairs[1][1].send(CALL)
    assert list(wait_readable(ours, None)) == [ours[1]]
    assert list(wait_readable(ours[1:2], 1.0)) == [ours[1]]
    for channel in [channel for pair in pairs for channel in pair]:
        channel.close()
