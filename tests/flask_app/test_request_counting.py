"""What counts requests finds once where numbers are, and they are never wrong."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import create_environ

from flask_concurrency import Concurrency
from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app.telemetry.request_counting import MOST_LENGTHS, RequestCounting
from flask_concurrency.telemetry.counters import LOOK_EVERY, Counters
from flask_concurrency.telemetry.metrics import LIMIT_DECISIONS, REQUEST_DURATION, RESPONSE_SIZE
from flask_concurrency.telemetry.names import Change
from flask_concurrency.testing.manual_clock import ManualClock

FIELDS = [("Content-Type", "text/plain"), ("Content-Length", "13")]
DURATION = (REQUEST_DURATION.name, "GET", "/items/<id>", "200")
DECISIONS = LIMIT_DECISIONS.name
SIZE = (RESPONSE_SIZE.name, "GET", "/items/<id>")


class Bench:
    """An app that answers each request in 20 ms, counted in a directory."""

    def __init__(self, directory: Path | None) -> None:
        self.clock = ManualClock()
        self.counters = Counters(directory, clock=self.clock)
        self.fields = FIELDS
        self.seconds = 0.02
        self._counting = RequestCounting(lambda: self.counters, clock=self.clock)

    def ask(self, method: str = "GET", *, times: int = 1) -> None:
        """Send requests."""
        for _ in range(times):
            self._ask(method)

    def _ask(self, method: str) -> None:
        journey = Journey()
        journey.route = "/items/<id>"
        journey.began_at = self.clock()
        self.clock.advance(self.seconds)
        self._counting.count({"REQUEST_METHOD": method}, journey, "200 OK", self.fields)

    def remembered(self) -> int:
        """Lengths that are remembered as they are written."""
        return len(self._counting._lengths)

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


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.005, 0), (0.0051, 1), (0.3, 7), (60.0, 14)]
)
def test_each_time_falls_into_its_bucket(seconds: float, bucket: int) -> None:
    """Up to and with its bound, whether or not it is one of the quick ones."""
    bench = Bench(None)
    bench.seconds = seconds
    bench.ask(times=3)
    *buckets, microseconds = bench.counters.totals()[DURATION]
    assert [place for place, number in enumerate(buckets) if number] == [bucket]
    assert microseconds == pytest.approx(3e6 * seconds, abs=3)


def test_lengths_that_clients_choose_take_no_memory() -> None:
    """And each is counted, also where more were met than are remembered."""
    bench = Bench(None)
    lengths = range(MOST_LENGTHS * 2 + 1)
    for length in lengths:
        bench.fields = [("Content-Length", str(length))]
        bench.ask()
    assert bench.remembered() <= MOST_LENGTHS
    *buckets, bytes_in_all = bench.counters.totals()[SIZE]
    assert bytes_in_all == sum(lengths)
    assert buckets[:3] == [101, 900, 1_000]


def test_a_shadow_that_would_refuse_is_told_of_each_request() -> None:
    """That a request was let in does not mean that all its limits admitted it."""
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app)
    concurrency.metrics(app)
    app.get("/")(concurrency.limit("2/day", shadow=True)(lambda: "in"))
    for _ in range(5):
        assert app.test_client().get("/").status_code == 200
    totals = app.extensions["concurrency"].counters.get().totals()
    told = {name[-1]: numbers for name, numbers in totals.items() if name[0] == DECISIONS}
    assert told == {"admitted": (2,), "would_refuse": (3,)}


def test_a_response_that_begins_anew_is_counted_once() -> None:
    """As the one that it was meant to be."""
    app = Flask("shop")
    app.testing = True
    app.get("/")(lambda: "in")
    inner = app.wsgi_app

    def failing(environ: Any, start_response: Any) -> Iterable[bytes]:
        body = inner(environ, start_response)
        try:
            raise OSError("The disk is gone.")
        except OSError:
            start_response("500 INTERNAL SERVER ERROR", [], sys.exc_info())
        return body

    app.wsgi_app = failing  # type: ignore[method-assign]
    concurrency = Concurrency(app)
    concurrency.metrics(app)
    answered: list[str] = []
    app(create_environ(), lambda status, *_: answered.append(status))  # type: ignore[arg-type]
    assert answered == ["200 OK", "500 INTERNAL SERVER ERROR"]
    totals = app.extensions["concurrency"].counters.get().totals()
    assert [name[-1] for name in totals if name[0] == REQUEST_DURATION.name] == ["200"]


def test_to_count_takes_no_layer_of_its_own() -> None:
    """What stands around the app anyway does it."""
    app = Flask("shop")
    concurrency = Concurrency(app)
    before = app.wsgi_app
    concurrency.metrics(app)
    assert app.wsgi_app is before
