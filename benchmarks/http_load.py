"""Send requests over many connections at once, and see that each is answered right.

Knows sockets; parses no HTTP beyond what the pages of the benchmarks need, so that it takes a
fraction of what a server takes and never is what is measured.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.wsgi_call import WrongAnswer

GIVE_UP = 30.0
"""Seconds without any answer at all."""

UPGRADE = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
]


class Connections:
    """Connections to one server, each with one request under way at most.

    :param port: Where the server listens, on 127.0.0.1.
    :param path: What is asked for.
    :param ending: What an answer ends with; once it has come, the next request may be sent.
    :param upgrade: Ask for a WebSocket.
    """

    def __init__(self, port: int, path: str, ending: bytes, *, upgrade: bool = False) -> None:
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "User-Agent: curl/8.5.0"]
        lines += UPGRADE if upgrade else ["Accept: */*"]
        self._request = "\r\n".join([*lines, "", ""]).encode()
        self._expected = b"HTTP/1.1 101 " if upgrade else b"HTTP/1.1 200 "
        self._address = ("127.0.0.1", port)
        self._ending = ending
        self._ready = selectors.DefaultSelector()
        self._closing = ExitStack()
        self._closing.callback(self._ready.close)
        self._sockets: list[socket.socket] = []

    def open(self, count: int) -> None:
        """Open so many more."""
        for _ in range(count):
            connection = self._closing.enter_context(socket.create_connection(self._address))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ready.register(connection, selectors.EVENT_READ)
            self._sockets.append(connection)

    def close(self) -> None:
        """Close all of them."""
        self._closing.close()

    def ask_once(self, newest: int | None = None) -> float:
        """One request on each, all at once; seconds until the last one is answered.

        :param newest: So many of those opened last. Default: all.
        """
        asked = self._sockets if newest is None else self._sockets[-newest:]
        begun_at = time.perf_counter()
        for connection in asked:
            connection.sendall(self._request)
        self.await_answers(len(asked))
        return time.perf_counter() - begun_at

    def keep_asking(self, seconds: float) -> int:
        """Requests on all of them, one after the other, for so long; how many were answered."""
        ends_at = time.perf_counter() + seconds
        for connection in self._sockets:
            connection.sendall(self._request)
        answered = 0

        def next_one(connection: socket.socket) -> bool:
            nonlocal answered
            answered += 1
            if time.perf_counter() > ends_at:
                return False
            connection.sendall(self._request)
            return True

        self.await_answers(len(self._sockets), next_one)
        return answered

    def await_answers(
        self, waiting: int, again: Callable[[socket.socket], bool] = lambda connection: False
    ) -> None:
        """Read until so many connections have been answered.

        :param again: Told of each answer; says whether another one will come there.
        :raises WrongAnswer: One was none, or none came.
        """
        parts: dict[socket.socket, bytes] = {}
        while waiting:
            events = self._ready.select(GIVE_UP)
            if not events:
                raise WrongAnswer(f"{waiting} requests were not answered within {GIVE_UP:g} s")
            for key, _ in events:
                connection: socket.socket = key.fileobj  # type: ignore[assignment]
                received = connection.recv(65_536)
                answer = parts.pop(connection, b"") + received
                if not received:
                    raise WrongAnswer(f"A connection was closed after {answer[:300]!r}")
                if not answer.endswith(self._ending):
                    parts[connection] = answer
                elif answer.startswith(b"HTTP/") and not answer.startswith(self._expected):
                    raise WrongAnswer(f"{answer[:300]!r}")
                elif not again(connection):
                    waiting -= 1


@contextmanager
def connections(
    port: int, path: str, count: int, ending: bytes, *, upgrade: bool = False
) -> Iterator[Connections]:
    """So many connections, closed at the end of the block."""
    opened = Connections(port, path, ending, upgrade=upgrade)
    try:
        opened.open(count)
        yield opened
    finally:
        opened.close()
