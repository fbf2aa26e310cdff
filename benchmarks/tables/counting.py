"""Measure what counting adds to a request, and what a scrape takes, beside the usual exporter.

prometheus-flask-exporter counts in its multiprocess mode, which several workers need: each count
goes into a mapped file of its process, as ours does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter
from timeit import repeat
from typing import TYPE_CHECKING, Any

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject, Trial
from benchmarks.tables.added import in_turn
from benchmarks.tables.rates import THREE
from benchmarks.wsgi_call import requests_to

if TYPE_CHECKING:
    from flask import Flask

    from flask_concurrency.engine.journey import Journey
    from flask_concurrency.flask_app.telemetry.request_counting import RequestCounting
    from flask_concurrency.telemetry.counters import Counters

ROUTES = 500
BARE = "not counted"
ANEW = "counted, places found anew"
CALLED = "a call, and the clock at the arrival"
LEAST = "at the least: a call, both clocks, one number"


def hello() -> str:
    """Answer what every tutorial answers."""
    return "Hello, World!"


@contextmanager
def _private(variable: str) -> Iterator[None]:
    """A directory of one's own, named by an environment variable, as counters need it."""
    with TemporaryDirectory() as directory:
        os.chmod(directory, 0o700)
        os.environ[variable] = directory
        yield


def _routes(app: Flask, number: int) -> None:
    for place in range(number):
        app.add_url_rule(f"/route{place}", f"route{place}", hello)


@contextmanager
def bare() -> Iterator[Flask]:
    """The extension without metrics."""
    from flask import Flask

    from flask_concurrency import Concurrency

    app = Flask("bare")
    Concurrency(app, store="memory://")
    app.get("/")(hello)
    yield app


@contextmanager
def ours(routes: int = 0, limits: tuple[str, ...] = ()) -> Iterator[Flask]:
    """The same, counted."""
    from flask import Flask

    from flask_concurrency import Concurrency

    with _private("XDG_RUNTIME_DIR"):
        app = Flask("ours")
        concurrency = Concurrency(app, store="memory://")
        app.get("/")(concurrency.limit(*limits)(lambda: hello()) if limits else hello)
        _routes(app, routes)
        concurrency.metrics(app, access=lambda: True)
        yield app


@contextmanager
def theirs(routes: int = 0) -> Iterator[Flask]:
    """Counted by prometheus-flask-exporter, grouped by endpoint."""
    with _private("PROMETHEUS_MULTIPROC_DIR"):
        from flask import Flask
        from prometheus_flask_exporter.multiprocess import UWsgiPrometheusMetrics

        app = Flask("theirs")
        metrics = UWsgiPrometheusMetrics(app, group_by="endpoint")
        app.get("/")(hello)
        _routes(app, routes)
        metrics.register_endpoint("/metrics")
        yield app


@contextmanager
def requests(make: Callable[[], object]) -> Iterator[Call]:
    """One request after another."""
    with make() as app:  # type: ignore[attr-defined]
        yield requests_to(app)


@contextmanager
def scrapes(make: Callable[[int], object]) -> Iterator[Call]:
    """The time of one scrape after another; all routes are asked for in between."""
    with make(ROUTES) as app:  # type: ignore[attr-defined]
        client = app.test_client()
        requests = [requests_to(app, f"/route{place}") for place in range(ROUTES)]

        def scrape() -> float:
            for request in requests:
                request()
            begun_at = perf_counter()
            response = client.get("/metrics")
            took = perf_counter() - begun_at
            assert response.status_code == 200
            assert f"route{ROUTES - 1}" in response.text
            return took

        yield scrape


class Part:
    """Stands in for what counts requests, and does a part of it."""

    def __init__(self, do: Callable[[list[tuple[str, str]]], object]) -> None:
        self._do = do
        self.clock = monotonic

    def count(
        self, environ: object, journey: Journey, status: str, headers: list[tuple[str, str]]
    ) -> None:
        """Do that part."""
        self._do(headers)


class Anew(Part):
    """What counts requests, but it finds anew each time where its numbers are."""

    def __init__(self, counting: RequestCounting, counters: Counters) -> None:
        super().__init__(lambda _: counters.here.places.clear())
        self._counting = counting

    def count(self, environ: Any, journey: Journey, status: str, headers: list[Any]) -> None:
        """Count a request."""
        super().count(environ, journey, status, headers)
        self._counting.count(environ, journey, status, headers)


def _parts(counters: Counters) -> dict[str, Callable[[list[tuple[str, str]]], object]]:
    """What counting a request consists of, each alone."""
    found = counters.here.places["GET", "/", "200 OK"]
    lengths = {"13": (13, 0)}

    def length(headers: list[tuple[str, str]]) -> object:
        for name, value in headers:
            if name == "Content-Length":
                return lengths.get(value)
        return None

    def place(_: object) -> object:
        places = counters.here.places
        return places.get(("GET", "/", "200 OK"))

    def lock(_: object) -> None:
        with counters.lock:
            pass

    def numbers(_: object) -> None:
        cells = counters.here.cells
        for cell in found:
            cells[cell] += 1

    return {
        CALLED: lambda _: None,
        "the clock once more": lambda _: monotonic(),
        "the length of the response": length,
        "where it is counted": place,
        "a lock": lock,
        "four numbers of the mapped file": numbers,
    }


def _least(counters: Counters) -> Part:
    """What no way to time requests in numbers that outlive the process can do without."""
    cell = counters.here.places["GET", "/", "200 OK"][0]

    def count(_: object) -> None:
        monotonic()
        counters.here.cells[cell] += 1

    return Part(count)


def _alone(counting: RequestCounting, quick: bool) -> float:
    """Microseconds that counting takes in a loop of nothing else."""
    from flask_concurrency.engine.journey import Journey

    journey, environ = Journey(), {"REQUEST_METHOD": "GET"}
    journey.route = "/"
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", "13")]

    def count() -> None:
        journey.began_at = counting.clock()
        counting.count(environ, journey, "200 OK", headers)

    return min(repeat(count, number=1_000, repeat=1 if quick else 200)) * 1e3


def measure_parts(quick: bool) -> list[list[str]]:
    """Requests of one app, counted and not counted in turn, and counted in part."""
    rows = [["", "µs a request", "added µs"]]
    for title, limits in (("a route without limits", ()), ("a route with three rates", THREE)):
        with ours(limits=limits) as app:
            counters = app.extensions["concurrency"].counters
            request = requests_to(app)
            request()  # from now on it is known where each number is
            real = counters.requests

            def counted_by(
                requests: object, counters: Any = counters, request: Call = request
            ) -> Call:
                def call() -> None:
                    counters.requests = requests
                    request()

                return call

            calls = {"not counted": counted_by(None), "counted": counted_by(real)}
            parts: dict[str, Callable[[list[tuple[str, str]]], object]] = {}
            if not limits:
                calls[ANEW] = counted_by(Anew(real, counters.get()))
                calls[LEAST] = counted_by(_least(counters.get()))
                parts = _parts(counters.get())
                calls |= {name: counted_by(Part(do)) for name, do in parts.items()}
            told = in_turn(calls, quick)
            for name, each in told.items():
                over = told[CALLED if name in parts and name != CALLED else "not counted"]
                what = f"… {name}" if name in parts else f"{title}, {name}"
                rows.append([what, f"{each:.1f}", f"{each - over:+.2f}"])
            if not limits:
                rows.append(
                    ["all of it, in a loop of nothing else", "", f"{_alone(real, quick):+.2f}"]
                )
    return rows


BENCHMARKS = (
    Benchmark(
        "counting-request",
        "what counting adds to a request",
        (
            Subject(BARE, partial(requests, bare)),
            Subject("ours", partial(requests, ours)),
            Subject("prometheus-flask-exporter", partial(requests, theirs)),
        ),
        (Comparison("counting", "ours", "prometheus-flask-exporter", over=BARE),),
        base=BARE,
    ),
    Benchmark(
        "counting-scrape",
        f"a scrape of an app with {ROUTES} routes, all asked for since the last one",
        (
            Subject("ours", partial(scrapes, ours), at_most=0.01),
            Subject("prometheus-flask-exporter", partial(scrapes, theirs)),
        ),
        (Comparison("a scrape", "ours", "prometheus-flask-exporter"),),
        unit="ms",
        measures_itself=True,
    ),
)

TRIALS = (
    Trial(
        "counting-parts",
        "what counting adds to a request, and what of it each part takes",
        measure_parts,
    ),
)
