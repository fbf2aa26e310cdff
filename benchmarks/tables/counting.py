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
from typing import TYPE_CHECKING

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject
from benchmarks.wsgi_call import requests_to

if TYPE_CHECKING:
    from flask import Flask

ROUTES = 500
BARE = "not counted"


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
def ours(routes: int = 0) -> Iterator[Flask]:
    """The same, counted."""
    from flask import Flask

    from flask_concurrency import Concurrency

    with _private("XDG_RUNTIME_DIR"):
        app = Flask("ours")
        concurrency = Concurrency(app, store="memory://")
        app.get("/")(hello)
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
    """One scrape after another, of an app whose routes were all asked for."""
    with make(ROUTES) as app:  # type: ignore[attr-defined]
        client = app.test_client()
        for place in range(ROUTES):
            assert client.get(f"/route{place}").status_code == 200

        def scrape() -> None:
            response = client.get("/metrics")
            assert response.status_code == 200
            assert f"route{ROUTES - 1}" in response.text

        yield scrape


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
        f"a scrape of an app with {ROUTES} routes",
        (
            Subject("ours", partial(scrapes, ours), at_most=0.01),
            Subject("prometheus-flask-exporter", partial(scrapes, theirs)),
        ),
        (Comparison("a scrape", "ours", "prometheus-flask-exporter"),),
        unit="ms",
    ),
)
