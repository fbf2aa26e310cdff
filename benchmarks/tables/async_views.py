"""Measure an ``async`` view on WSGI: Flask's own way, a loop and a thread each time, beside ours.

Once alone, where only the way there counts; once fifty at a time, each awaiting a tenth of a second
while as many clients wait in threads, as on a server with fifty of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject
from benchmarks.wsgi_call import requests_to

if TYPE_CHECKING:
    from flask import Flask

CLIENTS = 50
WAIT = 0.1

SYNC, STOCK, OURS = "bare Flask, sync view", "bare Flask, async view", "ours, async view"


def hello() -> str:
    """Answer at once."""
    return "Hello, World!"


async def hello_later() -> str:
    """Answer at once, but from a coroutine."""
    return "Hello, World!"


async def waits() -> str:
    """Answer after a while spent awaiting."""
    import asyncio

    await asyncio.sleep(WAIT)
    return "Hello, World!"


def sleeps() -> str:
    """Answer after a while spent blocking."""
    import time

    time.sleep(WAIT)
    return "Hello, World!"


def stock(view: Callable[[], object]) -> Flask:
    """Flask as it comes."""
    from flask import Flask

    app = Flask("stock")
    app.add_url_rule("/", view_func=view)  # type: ignore[arg-type]
    return app


def ours(view: Callable[[], object]) -> Flask:
    """Flask with the extension."""
    from flask_concurrency import Concurrency

    app = stock(view)
    Concurrency(app, store="memory://")
    return app


@contextmanager
def alone(make_app: Callable[..., Flask], view: Callable[[], object]) -> Iterator[Call]:
    """One request after the other."""
    yield requests_to(make_app(view))


@contextmanager
def together(make_app: Callable[..., Flask], view: Callable[[], object]) -> Iterator[Call]:
    """As many requests at once as there are clients."""
    from concurrent.futures import ThreadPoolExecutor

    app = make_app(view)
    calls = [requests_to(app) for _ in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as clients:

        def at_once() -> None:
            for future in [clients.submit(call) for call in calls]:
                future.result()

        yield at_once


BENCHMARKS = (
    Benchmark(
        name="async",
        title="a request to an async view that awaits nothing, in one process",
        base=SYNC,
        subjects=(
            Subject(SYNC, partial(alone, stock, hello)),
            Subject(STOCK, partial(alone, stock, hello_later)),
            Subject(OURS, partial(alone, ours, hello_later)),
        ),
        comparisons=(Comparison("an async view", OURS, STOCK, at_most=1 / 4),),
    ),
    Benchmark(
        name="async-together",
        title=f"{CLIENTS} requests at once, each waiting {WAIT} s, one client thread each",
        unit="ms",
        subjects=(
            Subject(SYNC, partial(together, stock, sleeps)),
            Subject(STOCK, partial(together, stock, waits)),
            Subject(OURS, partial(together, ours, waits)),
        ),
        comparisons=(
            Comparison("beside Flask's async view", OURS, STOCK),
            Comparison("beside a sync view that blocks", OURS, SYNC),
        ),
    ),
)
