"""What the kernel knows of a connection: when its last bytes came, and whether its client is gone.

Ages step by the kernel's tick, and are compared with a clock read around them.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flask_concurrency.runtime.own_connections import waiting_connections
from flask_concurrency.runtime.sock_diag import SockDiag
from flask_concurrency.runtime.tcp_info import (
    TCP_INFO_WORKS,
    arrival_by_socket,
    read_arrival,
    waits_since,
)

TICK = 0.03
"""Seconds by which an age may differ: the kernel's tick, on a busy machine."""

pytestmark = pytest.mark.skipif(not TCP_INFO_WORKS, reason="the kernel's layout is Linux'")


class Pair:
    """Both ends of a connection to a port that listens."""

    def __init__(self, stack: ExitStack, family: int, host: str) -> None:
        self.listener = stack.enter_context(socket.create_server((host, 0), family=family))
        self.port = self.listener.getsockname()[1]
        self.host = host
        self.client = stack.enter_context(socket.create_connection((host, self.port)))
        self.server = stack.enter_context(self.listener.accept()[0])
        self.sent_at = 0.0

    def send(self) -> None:
        """Let the client send something, and wait until it is there."""
        self.sent_at = time.monotonic()
        self.client.sendall(b"GET /")
        self.server.recv(1, socket.MSG_PEEK)

    def is_as_old(self, age: float) -> bool:
        """Whether an age fits what was sent last."""
        return age <= time.monotonic() - self.sent_at + TICK

    @property
    def addresses(self) -> tuple[str, int, str, int]:
        """The server's end and the client's."""
        return self.host, self.port, self.host, self.client.getsockname()[1]


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A connection over IPv4, and one over IPv6."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with ExitStack() as stack:
        try:
            made = Pair(stack, family, request.param)
        except OSError:
            pytest.skip("this machine has no IPv6")
        yield made


def wait_for_tick() -> None:
    """Until a clock that ticks as slowly as the kernel's has gone on."""
    until = time.monotonic() + 2 * TICK
    while time.monotonic() < until:
        os.sched_yield()


def test_the_age_counts_from_the_arrival(pair: Pair) -> None:
    """By the socket and by the addresses alike, and it grows while nothing comes."""
    pair.send()
    wait_for_tick()
    by_socket = arrival_by_socket(pair.server)
    by_addresses = SockDiag().arrival(*pair.addresses)
    assert by_addresses is not None
    for found in (by_socket, by_addresses):
        assert not found.gone
        assert found.age >= TICK
        assert pair.is_as_old(found.age)


def test_later_bytes_make_it_younger(pair: Pair) -> None:
    """It errs on the safe side: a slow upload never looks older than it is."""
    pair.send()
    wait_for_tick()
    before = arrival_by_socket(pair.server).age
    pair.send()
    assert arrival_by_socket(pair.server).age < before


def test_what_the_server_sends_changes_nothing(pair: Pair) -> None:
    """Only what comes in counts."""
    pair.send()
    wait_for_tick()
    pair.server.sendall(b"HTTP/1.1 100 Continue")
    assert arrival_by_socket(pair.server).age >= TICK


def test_a_client_that_has_closed_is_gone(pair: Pair) -> None:
    """The kernel knows, though nothing was read to the end."""
    pair.send()
    pair.client.close()
    while not arrival_by_socket(pair.server).gone:
        os.sched_yield()


def test_a_connection_that_is_not_there_is_none(pair: Pair) -> None:
    """Also where its port is listened on, which the kernel would report instead."""
    host, port, *_ = pair.addresses
    assert SockDiag().arrival(host, port, host, 1) is None
    assert SockDiag().arrival(host, 1, host, 2) is None


def test_addresses_that_are_none_are_refused() -> None:
    """Before the kernel is asked."""
    with pytest.raises(ValueError, match="localhost"):
        SockDiag().arrival("localhost", 80, "127.0.0.1", 81)
    with pytest.raises(ValueError, match="two kinds"):
        SockDiag().arrival("::1", 80, "127.0.0.1", 81)


def test_a_unix_socket_says_no(tmp_path: Path) -> None:
    """An error, and not an age of nothing."""
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other, pytest.raises(OSError, match=r"not (supported|available)") as error:
        arrival_by_socket(one)
    assert error.value.errno in {errno.EOPNOTSUPP, errno.ENOPROTOOPT}


def test_too_little_says_nothing() -> None:
    """An older kernel reports less."""
    with pytest.raises(OSError, match="8 bytes"):
        read_arrival(b"\x01" * 8)


def test_waiting_is_what_came_in_and_was_not_answered(pair: Pair) -> None:
    """Until the server has sent something after it; a connection alone does not wait."""
    descriptor = pair.server.fileno()

    def waiting() -> dict[int, float]:
        return dict(waiting_connections(time.monotonic()))

    assert descriptor not in waiting()
    pair.send()
    assert pair.is_as_old(time.monotonic() - waiting()[descriptor])
    pair.server.recv(100)
    assert descriptor in waiting()
    wait_for_tick()
    pair.server.sendall(b"HTTP/1.1 200 OK")
    assert descriptor not in waiting()


def test_connections_to_others_do_not_wait(pair: Pair) -> None:
    """What a database has sent to the app is no request, however long it lies there."""
    pair.server.sendall(b"a row")
    pair.client.recv(1, socket.MSG_PEEK)
    wait_for_tick()
    assert waits_since(pair.client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)) is not None
    assert pair.client.fileno() not in dict(waiting_connections(time.monotonic()))


def test_a_forked_child_asks_by_itself(pair: Pair) -> None:
    """The parent's channel is the parent's: answers would go to the wrong one."""
    diag = SockDiag()
    assert diag.arrival(*pair.addresses) is not None
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, b"1" if diag.arrival(*pair.addresses) is not None else b"0")
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        assert told.read() == b"1"
    os.waitpid(child, 0)
    assert diag.arrival(*pair.addresses) is not None
