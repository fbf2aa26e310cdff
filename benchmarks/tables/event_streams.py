"""Measure thousands of open event streams, or idle WebSockets, in one process: the memory of each.

And of streams the way of news to all of them.
Over HTTP on uvicorn, whose own part is told by an application without any framework. The clients
are another process; what the kernel holds for a connection is in neither.
"""

from __future__ import annotations

import time
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

from benchmarks import served
from benchmarks.benchmark import Trial
from benchmarks.http_load import Connections, connections
from benchmarks.other_processes import proportional_memory
from benchmarks.server_process import Running, serving

STREAMS = 5_000
FEW = 50
WAVE = 250
"""Streams opened at once."""

HELLO_FRAME = bytes([0x81, len(served.HELLO)]) + served.HELLO.encode()
"""What a WebSocket says first, as it comes (RFC 6455, 5.2)."""

SUBJECTS = {"uvicorn alone": "bare", "ours": "ours", "Quart": "quart"}


def measure(quick: bool) -> list[list[str]]:
    """Each in a server of its own, one after the other."""
    streams = FEW if quick else STREAMS
    _open_many_files()
    rows = [["", "streams", "KB a stream", "s to open all", "ms from news to the last", "MB"]]
    for name, app in SUBJECTS.items():
        rows.append([name, f"{streams:,}", *_measure_one(app, streams)])
    return rows


def measure_sockets(quick: bool) -> list[list[str]]:
    """WebSockets of asynchronous handlers that have said hello and wait for their clients."""
    sockets = FEW if quick else STREAMS
    _open_many_files()
    rows = [["", "WebSockets", "KB each", "s to open all", "MB"]]
    for name, app in SUBJECTS.items():
        with (
            serving("uvicorn", app) as server,
            connections(server.port, "/socket", 0, HELLO_FRAME, upgrade=True) as clients,
        ):
            taken, opened_within = _opened(server, clients, sockets)
            whole = proportional_memory(server.pid)
        cells = [f"{taken / 1e3:.1f}", f"{opened_within:.1f}", f"{whole / 1e6:.0f}"]
        rows.append([name, f"{sockets:,}", *cells])
    return rows


def _opened(server: Running, clients: Connections, count: int) -> tuple[float, float]:
    """Open so many connections; bytes that each takes of the server, and seconds for all."""
    clients.open(1)
    clients.ask_once()  # what the first one loads is no part of the others
    before = proportional_memory(server.pid)
    begun_at = time.perf_counter()
    for opened in range(1, count, WAVE):
        wave = min(WAVE, count - opened)
        clients.open(wave)
        clients.ask_once(wave)
    opened_within = time.perf_counter() - begun_at
    return (proportional_memory(server.pid) - before) / (count - 1), opened_within


def _measure_one(app: str, streams: int) -> list[str]:
    with (
        serving("uvicorn", app) as server,
        connections(server.port, "/events", 0, served.EVENT + b"\r\n") as readers,
    ):
        taken, opened_within = _opened(server, readers, streams)
        begun_at = time.perf_counter()
        with connections(server.port, "/publish", 1, served.BODY) as publisher:
            publisher.ask_once()
        readers.await_answers(streams)
        told_within = time.perf_counter() - begun_at
        whole = proportional_memory(server.pid)
    return [
        f"{taken / 1e3:.1f}",
        f"{opened_within:.1f}",
        f"{told_within * 1e3:.0f}",
        f"{whole / 1e6:.0f}",
    ]


def _open_many_files() -> None:
    hardest = getrlimit(RLIMIT_NOFILE)[1]
    setrlimit(RLIMIT_NOFILE, (hardest, hardest))  # handed down to the servers


TRIALS = (
    Trial("event-streams", "thousands of event streams open in one process", measure),
    Trial("idle-websockets", "thousands of WebSockets open in one process", measure_sockets),
)
