"""Send requests at instants that are drawn beforehand, however slow the answers are.

Latency counts from the scheduled instant, so that a server that holds the client up is not
flattered for it (Poisson arrivals; one connection a request, or kept ones). Knows HTTP as far as
a status line and a length.
"""

from __future__ import annotations

import errno
import random
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

UNANSWERED = 0
"""The status of a request that the client gave up, or whose connection broke."""

REFUSED = (429, 503)
"""Statuses of a refusal."""


class Sample(NamedTuple):
    """One request.

    :ivar at: When it was scheduled, in seconds from the beginning.
    :ivar took: Seconds from then to the last byte.
    :ivar status: The answer's; :data:`UNANSWERED` for none.
    :ivar path: What was asked for.
    """

    at: float
    took: float
    status: int
    path: str


class Phase(NamedTuple):
    """So many requests a second for so long.

    :ivar paths: Shares of its requests, and what they ask for, if not what the others do.
    """

    rate: float
    seconds: float
    paths: Sequence[tuple[float, str]] = ()


@dataclass(slots=True, eq=False)
class _Request:
    at: float
    path: str
    connection: socket.socket
    attempts: int = 1
    sent: bool = False
    head: bytes = b""
    got: int = 0
    ended: bool = field(default=False)


def schedule(phases: Sequence[Phase], seed: int) -> list[float]:
    """The instants of all requests, in seconds from the beginning."""
    return [at for at, _ in _scheduled(phases, seed)]


def _scheduled(phases: Sequence[Phase], seed: int) -> list[tuple[float, Phase]]:
    drawn = random.Random(seed)
    found = []
    begin = 0.0
    for phase in phases:
        at = begin
        while True:
            at += drawn.expovariate(phase.rate)
            if at >= begin + phase.seconds:
                break
            found.append((at, phase))
        begin += phase.seconds
    return found


def send(
    port: int,
    paths: Sequence[tuple[float, str]],
    phases: Sequence[Phase],
    *,
    seed: int = 1,
    patience: float = 2.0,
    retries: int = 0,
    keep_alive: bool = False,
) -> list[Sample]:
    """Send all, and wait for the answers.

    :param port: On this machine.
    :param paths: Shares of the requests, and what they ask for.
    :param patience: Seconds after which a client gives a request up and closes.
    :param retries: How often a client that is refused asks again, at once.
    :param keep_alive: Whether connections are used again, the newest first.
    """
    drawn = random.Random(seed + 1)
    requests = deque(
        (at, drawn.choices([p for _, p in chosen], [share for share, _ in chosen])[0])
        for at, phase in _scheduled(phases, seed)
        for chosen in [phase.paths or paths]
    )
    return _Clients(port, patience, retries, keep_alive).send_all(requests)


class _Clients:
    """All clients of one run, on one thread."""

    def __init__(self, port: int, patience: float, retries: int, keep_alive: bool) -> None:
        self._port = port
        self._patience = patience
        self._retries = retries
        self._keep_alive = keep_alive
        self._selector = selectors.DefaultSelector()
        self._waiting: deque[_Request] = deque()
        self._idle: list[socket.socket] = []
        self._samples: list[Sample] = []
        self._begin = time.perf_counter() + 0.02

    def send_all(self, requests: deque[tuple[float, str]]) -> list[Sample]:
        waiting = self._waiting
        while requests or waiting:
            now = time.perf_counter() - self._begin
            while requests and requests[0][0] <= now:
                self._start(*requests.popleft())
            while waiting and (waiting[0].ended or now - waiting[0].at > self._patience):
                self._end(waiting.popleft(), UNANSWERED)
            left = requests[0][0] - now if requests else 0.05
            for key, _ in self._selector.select(max(0.0, min(left, 0.05))):
                self._go_on(key.data)
        self._selector.close()
        for connection in self._idle:
            connection.close()
        return self._samples

    def _start(self, at: float, path: str, attempts: int = 1) -> None:
        code = 0
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = socket.socket()
            connection.setblocking(False)
            code = connection.connect_ex(("127.0.0.1", self._port))
        request = _Request(at, path, connection, attempts)
        self._selector.register(connection, selectors.EVENT_WRITE, request)
        self._waiting.append(request)
        if code not in (0, errno.EINPROGRESS):
            self._end(request, UNANSWERED)

    def _go_on(self, request: _Request) -> None:
        try:
            if not request.sent:
                request.connection.send(self._spelled(request.path))
                request.sent = True
                self._selector.modify(request.connection, selectors.EVENT_READ, request)
                return
            got = request.connection.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            self._end(request, UNANSWERED)
            return
        request.got += len(got)
        if b"\r\n\r\n" not in request.head:
            request.head += got
        whole = self._keep_alive and request.got >= _size(request.head)
        if whole or not got:
            known = request.head[9:12]
            reused = whole and b"\r\nconnection: close" not in request.head.lower()
            self._end(request, int(known) if known.isdigit() else UNANSWERED, reused=reused)

    def _spelled(self, path: str) -> bytes:
        how = "keep-alive" if self._keep_alive else "close"
        return f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: {how}\r\n\r\n".encode()

    def _end(self, request: _Request, status: int, *, reused: bool = False) -> None:
        if request.ended:
            return
        request.ended = True
        self._selector.unregister(request.connection)
        if reused:
            self._idle.append(request.connection)
        else:
            request.connection.close()
        now = time.perf_counter() - self._begin
        if status in REFUSED and request.attempts <= self._retries:
            self._start(request.at, request.path, request.attempts + 1)
        else:
            self._samples.append(Sample(request.at, now - request.at, status, request.path))


def _size(head: bytes) -> float:
    """Bytes of a whole answer, once its head is there."""
    end = head.find(b"\r\n\r\n")
    lower = head[: max(0, end)].lower() + b"\r\n"
    at = lower.find(b"content-length:")
    if end < 0 or at < 0:
        return inf
    return end + 4 + int(lower[at + 15 : lower.index(b"\r\n", at)])


class Figures(NamedTuple):
    """What came of the requests of some seconds, per second.

    :ivar offered: Requests.
    :ivar good: Answered within the deadline.
    :ivar late: Answered later.
    :ivar refused: Answered 429 or 503.
    :ivar unanswered: Not at all, or with another error.
    :ivar p99: Seconds that 99 of 100 answers took.
    :ivar refusal_p50: Seconds that half of the refusals took; ``None`` if there is none.
    :ivar refusal_p99: And 99 of 100.
    """

    offered: float
    good: float
    late: float
    refused: float
    unanswered: float
    p99: float | None
    refusal_p50: float | None
    refusal_p99: float | None


def figures(samples: Sequence[Sample], begin: float, end: float, deadline: float) -> Figures:
    """Look at the requests that were scheduled between two instants."""
    seen = [each for each in samples if begin <= each.at < end]
    seconds = end - begin
    answered = [each.took for each in seen if each.status == 200]
    refused = [each.took for each in seen if each.status in REFUSED]
    good = sum(took <= deadline for took in answered)
    return Figures(
        len(seen) / seconds,
        good / seconds,
        (len(answered) - good) / seconds,
        len(refused) / seconds,
        (len(seen) - len(answered) - len(refused)) / seconds,
        _quantile(answered, 0.99),
        _quantile(refused, 0.5),
        _quantile(refused, 0.99),
    )


def _quantile(values: list[float], share: float) -> float | None:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def capacity(
    port: int, paths: Sequence[tuple[float, str]], *, clients: int, seconds: float
) -> float:
    """Answers a second to clients that send the next request when they have an answer.

    :param paths: Shares of the requests, and what they ask for.
    """
    drawn = random.Random(0)
    shares, names = [share for share, _ in paths], [path for _, path in paths]
    selector = selectors.DefaultSelector()
    done = 0
    begin = time.perf_counter()
    count_from, until = begin + 0.3 * seconds, begin + seconds

    def start() -> None:
        connection = socket.create_connection(("127.0.0.1", port), 5.0)
        path = drawn.choices(names, shares)[0]
        asked = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
        connection.sendall(asked.encode())
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)

    for _ in range(clients):
        start()
    while (now := time.perf_counter()) < until:
        for key, _ in selector.select(0.05):
            connection: socket.socket = key.fileobj  # type: ignore[assignment]
            try:
                got = connection.recv(65_536)
            except BlockingIOError:
                continue
            except OSError:
                got = b""
            if not got:
                selector.unregister(connection)
                connection.close()
                done += now >= count_from
                start()
    for key in list(selector.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    selector.close()
    return done / (until - count_from)


if __name__ == "__main__":
    port, path, rate, seconds = sys.argv[1:5]
    found = send(int(port), [(1.0, path)], [Phase(float(rate), float(seconds))])
    print(figures(found, 1.0, float(seconds), 0.5))
