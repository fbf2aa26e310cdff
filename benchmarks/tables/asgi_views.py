"""Measure Flask apps on ASGI without a server: what one request costs.

The application is called as a server calls it, a task a request, so nothing but the framework is
measured; and that in time of the processor, all threads together, so that a busy machine does not
count.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks import served
from benchmarks.asgi_call import on_a_loop
from benchmarks.benchmark import Benchmark, Call, Comparison, Subject
from benchmarks.wsgi_call import requests_to

TIMES = 20
"""Requests in one turn, one after the other."""

BARE, OURS = "bare Flask on WSGI, sync view", "ours"
DIRECT = "Flask on the loop as it is, sync view"
HOP = "Flask as it is on a waiting thread"
"""What any thread pool in front of Flask has to do."""
HOP_ALONE = "the way to a waiting thread and back, without Flask"
QUART, QUART_SYNC, A2WSGI = "Quart", "Quart, sync view", "a2wsgi"


@contextmanager
def on_asgi(app: str, path: str) -> Iterator[Call]:
    """Seconds a request."""
    with on_a_loop(getattr(served, app)(), path, served.BODY, time.process_time) as send:
        yield lambda: send(1, TIMES)


@contextmanager
def on_wsgi() -> Iterator[Call]:
    """The same request without any bridge."""
    call = requests_to(served.flask(), "/sync", body=served.BODY)

    def timed() -> float:
        begun_at = time.process_time()
        for _ in range(TIMES):
            call()
        return (time.process_time() - begun_at) / TIMES

    yield timed


BENCHMARKS = (
    Benchmark(
        name="asgi-async",
        title="a request to an async view on ASGI without a server, processor time",
        measures_itself=True,
        subjects=(
            Subject(BARE, on_wsgi),
            Subject(OURS, partial(on_asgi, "ours", "/")),
            Subject(DIRECT, partial(on_asgi, "direct", "/sync")),
            Subject(QUART, partial(on_asgi, "quart", "/")),
        ),
        comparisons=(
            Comparison("an async view, beside Quart", OURS, QUART, at_most=1 / 1.3),
            Comparison("beside Flask on the loop as it is", OURS, DIRECT, at_most=1.15),
            Comparison("beside a sync view on WSGI", OURS, BARE),
        ),
    ),
    Benchmark(
        name="asgi-sync",
        title="a request to a sync view on ASGI without a server, processor time",
        measures_itself=True,
        subjects=(
            Subject(BARE, on_wsgi),
            Subject(OURS, partial(on_asgi, "ours", "/sync")),
            Subject(HOP, partial(on_asgi, "hop", "/sync")),
            Subject(HOP_ALONE, partial(on_asgi, "hop_alone", "/sync")),
            Subject(A2WSGI, partial(on_asgi, "a2wsgi", "/sync")),
            Subject(QUART_SYNC, partial(on_asgi, "quart", "/sync")),
        ),
        comparisons=(
            Comparison("a sync view, beside a2wsgi", OURS, A2WSGI, at_most=0.3),
            Comparison("beside Quart", OURS, QUART_SYNC),
            Comparison("beside Flask as it is on a waiting thread", OURS, HOP),
            Comparison("that one, beside a2wsgi", HOP, A2WSGI),
            Comparison("bare Flask on WSGI, beside a2wsgi", BARE, A2WSGI),
            Comparison("the way to a thread and back, beside a2wsgi", HOP_ALONE, A2WSGI),
        ),
    ),
)
