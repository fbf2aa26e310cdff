"""Measure what the dashboard's page weighs, and what it costs a server while ten people watch.

They watch as the page does: by a stream where the server gives them one, else by asking every two
seconds. Watched and unwatched take turns, and the difference is what watching costs.
"""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.benchmark import Trial
from flask_concurrency.cli.tune.processor_time import used

PORT = 8691
PREFIX = "/_concurrency/"
WATCHING = 10
LASTS = 20.0
"""Seconds of one turn."""
ROUNDS = 3
POLLS = 2.0
AT_MOST = 0.01
"""Share of a core that ten who watch may take."""
PAGE_AT_MOST = 150_000


def measure(quick: bool) -> list[list[str]]:
    """The table."""
    lasts, rounds = (1.0, 1) if quick else (LASTS, ROUNDS)
    with served() as session:
        page = weight()
        alone, watched = [], []
        for _ in range(rounds):
            alone.append(share(session, lasts))
            with watching(WATCHING) as streams:
                watched.append(share(session, lasts))
    more = median(watched) - median(alone)
    reached = "" if quick else ("yes" if more <= AT_MOST else "no")
    return [
        ["", "measured", "target", "reached"],
        ["the page and all it loads, bytes", f"{page:,}", f"≤ {PAGE_AT_MOST:,}",
         "yes" if page <= PAGE_AT_MOST else "no"],
        ["unwatched, share of a core", f"{median(alone):.2%}", "", ""],
        [f"{WATCHING} watch, {streams[0]} of them by a stream", f"{median(watched):.2%}", "", ""],
        ["what they cost", f"{more:.2%}", f"≤ {AT_MOST:.0%}", reached],
    ]  # fmt: skip


def share(session: int, seconds: float) -> float:
    """The share of a core that the server uses."""
    began_at, before = time.perf_counter(), used(session).ran
    time.sleep(seconds)
    return (used(session).ran - before) / (time.perf_counter() - began_at)


def weight() -> int:
    """Bytes of the page and of what it loads."""
    status, page = asked(PREFIX)
    assert status == 200
    loaded = re.findall(rb'(?:src|href)="([a-z.]+)"', page)
    return len(page) + sum(len(asked(PREFIX + name.decode())[1]) for name in loaded)


@contextmanager
def watching(number: int) -> Iterator[list[int]]:
    """People who look at the page; gives how many of them got a stream."""
    stop, streams = threading.Event(), [0]

    def watch() -> None:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
            connection.request("GET", f"{PREFIX}feed")
            response = connection.getresponse()
            if response.status == 200:
                streams[0] += 1
                while not stop.is_set():
                    response.readline()
                connection.close()  # the stream has no end
                return
            response.read()
            while not stop.wait(POLLS):
                connection.request("GET", f"{PREFIX}data.json?after={int(time.time()) - 3}")
                connection.getresponse().read()

    people = [threading.Thread(target=watch) for _ in range(number)]
    for each in people:
        each.start()
        time.sleep(0.13)  # nobody opens ten pages at the same instant
    time.sleep(2.0)
    try:
        yield streams
    finally:
        stop.set()
        for each in people:
            each.join()


def asked(path: str) -> tuple[int, bytes]:
    """What the server answers; 0 for nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


@contextmanager
def served() -> Iterator[int]:
    """The example's shop on two workers, with counts of its own; gives the server's session."""
    command = [sys.executable, "-m", "flask", "--app", "examples.monitoring.shop", "concurrency"]
    command += ["serve", "-w", "2", "-t", "16", "-p", str(PORT), "--log-level", "error"]
    with TemporaryDirectory() as directory:
        os.chmod(directory, 0o700)
        process = subprocess.Popen(
            command,
            env={**os.environ, "XDG_RUNTIME_DIR": directory},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while asked("/items/1")[0] != 200:
                assert process.poll() is None, "the server has ended"
                time.sleep(0.1)
            for number in range(40):
                asked(f"/items/{number}")
            yield process.pid
        finally:
            process.terminate()
            process.wait()


TRIALS = (Trial("dashboard", "the dashboard: its weight, and ten people who watch", measure),)
