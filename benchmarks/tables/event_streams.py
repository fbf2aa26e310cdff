"""Measure thousands of open event streams in one process: the memory of each, and the way of news.

Over HTTP on uvicorn, whose own part is told by an application without any framework. The clients
are another process; what the kernel holds for a connection is in neither.
"""

from __future__ import annotations

import time
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

from benchmarks import served
from benchmarks.benchmark import Trial
from benchmarks.http_load import connections
from benchmarks.other_processes import proportional_memory
from benchmarks.server_process import serving

STREAMS = 5_000
FEW = 50
WAVE = 250
"""Streams opened at once."""

SUBJECTS = {"uvicorn alone": "bare", "ours": "ours", "Quart": "quart"}


def measure(quick: bool) -> list[list[str]]:
    """Each in a server of its own, one after the other."""
    streams = FEW if quick else STREAMS
    hardest = getrlimit(RLIMIT_NOFILE)[1]
    setrlimit(RLIMIT_NOFILE, (hardest, hardest))  # handed down to the servers
    rows = [["", "streams", "KB a stream", "s to open all", "ms from news to the last", "MB"]]
    for name, app in SUBJECTS.items():
        rows.append([name, f"{streams:,}", *_measure_one(app, streams)])
    return rows


def _measure_one(app: str, streams: int) -> list[str]:
    with (
        serving("uvicorn", app) as server,
        connections(server.port, "/events", 0, served.EVENT + b"\r\n") as readers,
    ):
        readers.open(1)
        readers.ask_once()  # what the first one loads is no part of the others
        before = proportional_memory(server.pid)
        begun_at = time.perf_counter()
        for opened in range(1, streams, WAVE):
            wave = min(WAVE, streams - opened)
            readers.open(wave)
            readers.ask_once(wave)
        opened_within = time.perf_counter() - begun_at
        taken = proportional_memory(server.pid) - before
        begun_at = time.perf_counter()
        with connections(server.port, "/publish", 1, served.BODY) as publisher:
            publisher.ask_once()
        readers.await_answers(streams)
        told_within = time.perf_counter() - begun_at
        whole = proportional_memory(server.pid)
    return [
        f"{taken / (streams - 1) / 1e3:.1f}",
        f"{opened_within:.1f}",
        f"{told_within * 1e3:.0f}",
        f"{whole / 1e6:.0f}",
    ]


TRIALS = (Trial("event-streams", "thousands of event streams open in one process", measure),)
