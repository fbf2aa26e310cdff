"""Measure what a Redis server that stops, hangs and comes back does to requests under load.

Threads ask all the time. A thread that waits for the server when it goes out waits for the timeout;
no other thread does, until it is back.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from statistics import median

from benchmarks.benchmark import Trial
from benchmarks.tables.rates import hello
from benchmarks.tables.redis import RedisProcess

TIMEOUT = 0.25
THREADS = 4
PHASE = 2.0
PAUSE = 0.002
LIMIT = "100000/minute"

Answer = tuple[str, float, int]
"""The phase a request began in, the seconds it took, and its status."""


def measure(quick: bool) -> list[list[str]]:
    """A minute in the life of a server, once for each policy."""
    logging.getLogger("flask_concurrency").addHandler(logging.NullHandler())
    rows = [["", "requests", "median ms", "worst ms", "waited in vain", "200", "429", "503"]]
    for policy in ("local", "admit", "refuse"):
        rows += _outage(policy, 0.2 if quick else PHASE)
    return rows


def _outage(policy: str, seconds: float) -> list[list[str]]:
    from flask import Flask

    from flask_concurrency import Concurrency

    with RedisProcess() as server:
        app = Flask("outage")
        app.config["CONCURRENCY_STORE_TIMEOUT"] = TIMEOUT
        app.config["CONCURRENCY_ON_STORE_FAILURE"] = policy
        concurrency = Concurrency(app, store=server.url)
        app.get("/")(concurrency.limit(LIMIT)(hello))
        store = app.extensions["concurrency"].store
        phases: list[tuple[str, Callable[[], None]]] = [
            ("as usual", lambda: None),
            ("stopped", server.stop),
            ("started", server.start),
            ("paused", lambda: server.process.send_signal(signal.SIGSTOP)),
            ("resumed", lambda: server.process.send_signal(signal.SIGCONT)),
        ]
        answers: list[Answer] = []
        phase = [phases[0][0]]
        done = threading.Event()

        def visit(number: int) -> None:
            client = app.test_client()
            while not done.wait(PAUSE):
                begun_at, begun_in = time.perf_counter(), phase[0]
                address = {"REMOTE_ADDR": f"198.51.100.{number}"}
                status = client.get("/", environ_base=address).status_code
                answers.append((begun_in, time.perf_counter() - begun_at, status))

        threads = [threading.Thread(target=visit, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        in_vain = []
        for name, act in phases:
            before = store.snapshot().errors
            phase[0] = name
            act()
            done.wait(seconds)
            in_vain.append(store.snapshot().errors - before)
        done.set()
        for thread in threads:
            thread.join()
        store.close()
    return [
        _row(f"{policy}: {name}", [each for each in answers if each[0] == name], waited)
        for (name, _), waited in zip(phases, in_vain, strict=True)
    ]


def _row(name: str, answers: list[Answer], in_vain: int) -> list[str]:
    times = [seconds * 1e3 for _, seconds, _ in answers] or [0.0]
    statuses = Counter(status for _, _, status in answers)
    return [
        name,
        f"{len(answers):,}",
        f"{median(times):.2f}",
        f"{max(times):.1f}",
        str(in_vain),
        *(f"{statuses[status]:,}" for status in (200, 429, 503)),
    ]


TRIALS = (
    Trial(
        "redis-outage",
        f"requests of {THREADS} threads while a Redis server is stopped, started and paused; "
        f"timeout {TIMEOUT * 1e3:.0f} ms",
        measure,
    ),
)
