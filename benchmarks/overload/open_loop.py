"""Send requests at instants that are drawn beforehand, however slow the answers are.

Latency counts from the scheduled instant, so that a server that holds the client up is not
flattered for it (Poisson arrivals, one connection a request). Knows HTTP as far as a status line.
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
from typing import NamedTuple

UNANSWERED = 0
"""The status of a request that the client gave up, or whose connection broke."""


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
    """So many requests a second for so long."""

    rate: float
    seconds: float


@dataclass(slots=True)
class _Request:
    at: float
    path: str
    connection: socket.socket
    sent: bool = False
    head: bytes = b""
    ended: bool = field(default=False)


def schedule(phases: Sequence[Phase], seed: int) -> list[float]:
    """The instants of all requests, in seconds from the beginning."""
    drawn = random.Random(seed)
    instants = []
    begin = 0.0
    for phase in phases:
        at = begin
        while True:
            at += drawn.expovariate(phase.rate)
            if at >= begin + phase.seconds:
                break
            instants.append(at)
        begin += phase.seconds
    return instants


def send(
    port: int,
    paths: Sequence[tuple[float, str]],
    phases: Sequence[Phase],
    *,
    seed: int = 1,
    patience: float = 2.0,
    header: str = "",
) -> list[Sample]:
    """Send all, and wait for the answers.

    :param port: On this machine.
    :param paths: Shares of the requests, and what they ask for.
    :param patience: Seconds after which a client gives a request up and closes.
    :param header: One more header line for each.
    """
    drawn = random.Random(seed + 1)
    shares, names = [share for share, _ in paths], [path for _, path in paths]
    instants = deque(schedule(phases, seed))
    chosen = deque(drawn.choices(names, shares, k=len(instants)))
    asked = {
        path: f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n{header}\r\n".encode()
        for path in names
    }
    selector = selectors.DefaultSelector()
    waiting: deque[_Request] = deque()
    samples: list[Sample] = []
    begin = time.perf_counter() + 0.02

    def end(request: _Request, status: int) -> None:
        if request.ended:
            return
        request.ended = True
        selector.unregister(request.connection)
        request.connection.close()
        took = time.perf_counter() - begin - request.at
        samples.append(Sample(request.at, took, status, request.path))

    def start(at: float, path: str) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        code = connection.connect_ex(("127.0.0.1", port))
        request = _Request(at, path, connection)
        selector.register(connection, selectors.EVENT_WRITE, request)
        waiting.append(request)
        if code not in (0, errno.EINPROGRESS):
            end(request, UNANSWERED)

    def go_on(request: _Request) -> None:
        try:
            if not request.sent:
                request.connection.send(asked[request.path])
                request.sent = True
                selector.modify(request.connection, selectors.EVENT_READ, request)
                return
            got = request.connection.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            end(request, UNANSWERED)
            return
        if len(request.head) < 16:
            request.head += got[:16]
        if not got:
            known = request.head[9:12]
            end(request, int(known) if known.isdigit() else UNANSWERED)

    while instants or waiting:
        now = time.perf_counter() - begin
        while instants and instants[0] <= now:
            start(instants.popleft(), chosen.popleft())
        while waiting and (waiting[0].ended or now - waiting[0].at > patience):
            end(waiting.popleft(), UNANSWERED)
        left = instants[0] - now if instants else 0.05
        for key, _ in selector.select(max(0.0, min(left, 0.05))):
            go_on(key.data)
    selector.close()
    return samples


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
    refused = [each.took for each in seen if each.status in (429, 503)]
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


def capacity(port: int, path: str, *, clients: int, seconds: float) -> float:
    """Answers a second to clients that send the next request when they have an answer."""
    asked = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    done = 0
    begin = time.perf_counter()
    count_from, until = begin + 0.3 * seconds, begin + seconds

    def start() -> None:
        connection = socket.create_connection(("127.0.0.1", port), 5.0)
        connection.sendall(asked)
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
