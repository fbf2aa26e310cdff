"""The middleware that counts requests finds once where numbers are, and they are never wrong."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app.current_journey import JOURNEY, ROUTE
from flask_concurrency.flask_app.telemetry.request_counting import RequestCounting
from flask_concurrency.telemetry.counters import LOOK_EVERY, Counters
from flask_concurrency.telemetry.metrics import REQUEST_DURATION, RESPONSE_SIZE
from flask_concurrency.telemetry.names import Change
from flask_concurrency.testing.manual_clock import ManualClock

FIELDS = [("Content-Type", "text/plain"), ("Content-Length", "13")]
DURATION = (REQUEST_DURATION.name, "GET", "/items/<id>", "200")
SIZE = (RESPONSE_SIZE.name, "GET", "/items/<id>")


class Bench:
    """An app that answers each request in 20 ms, counted in a directory."""

    def __init__(self, directory: Path | None) -> None:
        self.clock = ManualClock()
        self.counters = Counters(directory, clock=self.clock)
        self.fields = FIELDS
        self._counting = RequestCounting(self._app, lambda: self.counters, clock=self.clock)

    def _app(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        self.clock.advance(0.02)
        start("200 OK", self.fields)
        return []

    def ask(self, method: str = "GET", *, times: int = 1) -> None:
        """Send requests."""
        for _ in range(times):
            self._ask(method)

    def _ask(self, method: str) -> None:
        environ = {"REQUEST_METHOD": method, ROUTE: "/items/<id>", JOURNEY: Journey()}
        self._counting(environ, lambda *_: bytes)

    def counted(self) -> int:
        """Requests that were counted."""
        return sum(self.counters.totals()[DURATION][:-1])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the files of a deployment are; its parent is private, as the real one is."""
    parent = tmp_path / "private"
    parent.mkdir(mode=0o700)
    return parent / "counters"


@pytest.mark.parametrize("in_memory", [True, False])
def test_each_request_is_counted_once(directory: Path, in_memory: bool) -> None:
    """The first of its kind by name, all others where that was found."""
    bench = Bench(None if in_memory else directory)
    bench.ask(times=5)
    totals = bench.counters.totals()
    assert totals[DURATION] == (0, 0, 5, *[0] * 12, 100_000)
    assert totals[SIZE] == (5, *[0] * 7, 65)
    bench.counters.close()


def test_a_removed_file_takes_no_later_count_along(directory: Path) -> None:
    """Where numbers were in the old file says nothing of the new one."""
    bench = Bench(directory)
    bench.ask(times=3)
    shutil.rmtree(directory)
    bench.clock.advance(LOOK_EVERY)
    bench.counters.add([(("another",), 1, 0, 1)])
    bench.ask(times=3)
    assert bench.counted() == 3
    assert bench.counters.totals()[("another",)] == (1,)
    bench.counters.close()


def test_counts_kept_in_memory_move_to_the_file(directory: Path) -> None:
    """As soon as one can be had."""
    bench = Bench(directory)
    directory.parent.chmod(0o777)
    bench.ask(times=2)
    directory.parent.chmod(0o700)
    bench.clock.advance(LOOK_EVERY)
    bench.ask(times=2)
    bench.counters.close()
    assert sum(Counters(directory).totals()[DURATION][:-1]) == 4


def test_what_is_mirrored_is_mirrored_each_time(directory: Path) -> None:
    """OpenTelemetry's instruments are told of every request."""
    bench = Bench(directory)
    bench.ask()
    told: list[Change] = []
    bench.counters.mirror = told.extend
    bench.ask(times=2)
    assert sum(name == DURATION and index < 15 for name, _, index, _ in told) == 2
    assert bench.counted() == 3
    bench.counters.close()


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [([("content-length", "7")], 2), ([("Content-Length", "x")], 0), ([], 0)],
)
def test_a_length_is_counted_where_it_is_known(fields: list[tuple[str, str]], sizes: int) -> None:
    """However it is written; a response without one has none."""
    bench = Bench(None)
    bench.fields = fields
    bench.ask(times=2)
    assert sum(bench.counters.totals().get(SIZE, (0, 0))[:-1]) == sizes


def test_an_invented_method_keeps_no_place() -> None:
    """Clients may invent them without end."""
    bench = Bench(None)
    for number in range(20):
        bench.ask(f"HACK{number}")
    assert not bench.counters.here.places
    assert sum(bench.counters.totals()[REQUEST_DURATION.name, "_OTHER", *DURATION[2:]][:-1]) == 20


def test_threads_lose_no_request(directory: Path) -> None:
    """Although each looks up for itself where to add."""
    bench = Bench(directory)
    start = threading.Barrier(4)

    def ask() -> None:
        start.wait()
        for _ in range(300):
            bench.ask()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert bench.counted() == 1_200
    bench.counters.close()
