"""What a packed command makes of a server that answers in pieces, late, or strangely."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.stores.redis.redis_store import RedisStore
from flask_concurrency.stores.store import CheckTemplates
from flask_concurrency.vocabulary.errors import StoreUnavailable

ONE = CheckTemplates((("rate", SlidingWindow(5, 60.0), 1, False),))
ADMITTED = b"*4\r\n:1\r\n:4\r\n:0\r\n:60000000\r\n"
Say = Callable[[socket.socket], object]


@contextmanager
def answered(*says: Say, timeout: float = 20.0) -> Iterator[tuple[RedisStore, list[int]]]:
    """A store whose server says one thing after the other to what is asked of scripts.

    :returns: The store, and how many scripts were asked for on each connection.
    """
    asked: list[int] = []
    left = list(says)

    def serve(connection: socket.socket) -> None:
        asked.append(0)
        mine = len(asked) - 1
        with connection, suppress(OSError):
            while heard := connection.recv(65_536):
                if b"EVALSHA" not in heard:
                    connection.sendall(b"+OK\r\n" * heard.count(b"*"))
                    continue
                asked[mine] += 1
                left.pop(0)(connection)

    def listen(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                connections.append(connection)
                serve(connection)

    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        listening = threading.Thread(target=listen, args=(server,))
        listening.start()
        store = RedisStore(f"redis://127.0.0.1:{server.getsockname()[1]}", timeout=timeout)
        try:
            yield store, asked
        finally:
            store.close()
            server.shutdown(socket.SHUT_RDWR)
            listening.join()


def say(*pieces: bytes) -> Say:
    def said(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return said


def test_an_answer_in_pieces_is_read_to_its_end() -> None:
    """However the network cut it, and the next answer is the next command's."""
    pieces = [bytes([byte]) for byte in ADMITTED]
    with answered(say(*pieces), say(ADMITTED.replace(b":4", b":3"))) as (store, asked):
        assert store.take_for("k", ONE)[0].remaining == 4
        assert store.take_for("k", ONE)[0].remaining == 3
    assert asked == [2]


@pytest.mark.parametrize(
    "strange",
    [
        b"+OK\r\n",
        b":1\r\n",
        b"$5\r\nhello\r\n",
        b"*3\r\n:1\r\n:4\r\n:0\r\n",
        b"*4\r\n:1\r\n:x\r\n:0\r\n:0\r\n",
        b"*4\r\n:1\r\n$1\r\n4\r\n:0\r\n:0\r\n",
        ADMITTED + b":7\r\n",
        b"*4\r\n:" + b"1" * 1_000,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
    ids=repr,
)
def test_something_else_is_no_answer(strange: bytes) -> None:
    """It is an outage, and nothing of it is taken for what a later command is told."""
    with answered(say(strange), say(ADMITTED)) as (store, asked):
        with pytest.raises(StoreUnavailable, match="is no Redis: it answered"):
            store.take_for("k", ONE)
        assert store.take_for("k", ONE)[0].remaining == 4
    assert asked == [1, 1], "it was read on from a connection that said something else"


def test_a_server_that_leaves_in_the_middle_is_out() -> None:
    """Half an answer is none."""

    def leave(connection: socket.socket) -> None:
        connection.sendall(ADMITTED[:9])
        connection.shutdown(socket.SHUT_RDWR)

    with answered(leave, say(ADMITTED)) as (store, _):
        with pytest.raises(StoreUnavailable, match="left before it had answered"):
            store.take_for("k", ONE)
        assert store.take_for("k", ONE)[0].remaining == 4


def test_an_answer_that_does_not_come_ends_with_the_timeout() -> None:
    """And when it comes after all, no later command takes it for its own."""
    with answered(say(), say(ADMITTED), timeout=0.05) as (store, asked):
        with pytest.raises(StoreUnavailable, match="Timeout"):
            store.take_for("k", ONE)
        assert store.take_for("k", ONE)[0].remaining == 4
    assert asked == [1, 1]
