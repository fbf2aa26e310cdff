"""Measure Flask apps on ASGI servers, over HTTP: requests one after another, and 500 at once.

Each server is a process with one worker, and so is what asks it; all are up while one is asked.
A request's time is that of the processor, spent by a server that is asked as fast as it answers, so
a busy machine does not count. On a processor of its own a worker whose Python runs on one thread
answers in inverse proportion: a ratio of 1/1.3 is 1.3 times the requests a second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import NamedTemporaryFile
from urllib.request import urlopen

from benchmarks import served
from benchmarks.asgi_call import on_a_loop
from benchmarks.benchmark import Benchmark, Call, Comparison, Subject
from benchmarks.http_load import connections
from benchmarks.other_processes import processor_time
from benchmarks.server_process import Server, serving
from benchmarks.wsgi_call import WrongAnswer

CONNECTIONS = 32
FILE_SIZE = 100_000_000
TURN = 0.1
"""Seconds that each is asked before it is the next one's turn."""

AT_ONCE = 500
WITHIN = 0.2

OURS, QUART = "ours, async view", "Quart, async view"
OURS_SYNC, A2WSGI = "ours, sync view", "a2wsgi, sync view"
STOCK = "bare Flask, async view, gunicorn gthread"
DIRECT = "bare Flask, sync view, on the loop"
"""No bridge at all, and no other request is served meanwhile: what a bridge cannot undercut."""
OURS_FILE, A2WSGI_FILE, WSGI_FILE = "ours, granian", "a2wsgi, granian", "gunicorn gthread"
OURS_APART, QUART_APART = "ours, no server", "Quart, no server"
OURS_SERVED, QUART_SERVED = "ours, uvicorn", "Quart, uvicorn"


@contextmanager
def asked(server: Server, app: str, path: str) -> Iterator[Call]:
    """Seconds of the processor that a request takes of a server that is kept busy."""
    with serving(server, app) as running:

        def turn() -> float:
            with connections(running.port, path, CONNECTIONS, served.BODY) as clients:
                clients.ask_once()
                before = processor_time(running.pid)
                answered = clients.keep_asking(TURN)
                return (processor_time(running.pid) - before) / answered

        yield turn


@contextmanager
def asked_for_a_file(server: Server, app: str) -> Iterator[Call]:
    """Seconds of the processor that a server takes to send a large file."""
    with NamedTemporaryFile() as file:
        file.truncate(FILE_SIZE)
        os.environ[served.FILE] = file.name
        with serving(server, app) as running:

            def turn() -> float:
                before = processor_time(running.pid)
                with urlopen(f"http://127.0.0.1:{running.port}/file") as answer:
                    size = sum(map(len, iter(lambda: answer.read(2**20), b"")))
                if size != FILE_SIZE:
                    raise WrongAnswer(f"{size} bytes of {FILE_SIZE} came")
                return processor_time(running.pid) - before

            yield turn


@contextmanager
def asked_at_once(app: str) -> Iterator[Call]:
    """Seconds until the last of all requests is answered that are sent at once."""
    with serving("uvicorn", app) as running:

        def turn() -> float:
            with connections(running.port, "/wait", AT_ONCE, served.BODY) as clients:
                return clients.ask_once()

        yield turn


@contextmanager
def called_at_once(app: str) -> Iterator[Call]:
    """The same without a server."""
    with on_a_loop(getattr(served, app)(), "/wait", served.BODY, time.perf_counter) as send:
        yield lambda: send(AT_ONCE, 1)


BENCHMARKS = (
    Benchmark(
        name="asgi-uvicorn",
        title=f"a request to one worker of uvicorn, {CONNECTIONS} connections, processor time",
        measures_itself=True,
        subjects=(
            Subject(OURS, partial(asked, "uvicorn", "ours", "/")),
            Subject(QUART, partial(asked, "uvicorn", "quart", "/")),
            Subject(DIRECT, partial(asked, "uvicorn", "direct", "/")),
            Subject(OURS_SYNC, partial(asked, "uvicorn", "ours", "/sync")),
            Subject(A2WSGI, partial(asked, "uvicorn", "a2wsgi", "/sync")),
            Subject(STOCK, partial(asked, "gunicorn", "flask", "/")),
        ),
        comparisons=(
            Comparison("an async view, beside Quart", OURS, QUART, at_most=1 / 1.3),
            Comparison("Flask on the loop as it is, beside Quart", DIRECT, QUART),
            Comparison("an async view, beside Flask's own on WSGI", OURS, STOCK, at_most=1 / 5),
            Comparison("a sync view, beside a2wsgi", OURS_SYNC, A2WSGI, at_most=0.3),
        ),
    ),
    Benchmark(
        name="asgi-granian",
        title=f"a request to one worker of granian, {CONNECTIONS} connections, processor time",
        measures_itself=True,
        subjects=(
            Subject(OURS, partial(asked, "granian", "ours", "/")),
            Subject(QUART, partial(asked, "granian", "quart", "/")),
            Subject(DIRECT, partial(asked, "granian", "direct", "/")),
        ),
        comparisons=(
            Comparison("an async view, beside Quart", OURS, QUART, at_most=1 / 1.2),
            Comparison("Flask on the loop as it is, beside Quart", DIRECT, QUART),
        ),
    ),
    Benchmark(
        name="asgi-file",
        title=f"send_file of {FILE_SIZE / 1e6:g} MB from a plain view, processor time",
        unit="ms",
        measures_itself=True,
        subjects=(
            Subject(OURS_FILE, partial(asked_for_a_file, "granian", "ours")),
            Subject(A2WSGI_FILE, partial(asked_for_a_file, "granian", "a2wsgi")),
            Subject(WSGI_FILE, partial(asked_for_a_file, "gunicorn", "flask")),
        ),
        comparisons=(
            Comparison("beside a2wsgi", OURS_FILE, A2WSGI_FILE, at_most=1 / 2),
            Comparison("beside gunicorn's sendfile", OURS_FILE, WSGI_FILE),
        ),
    ),
    Benchmark(
        name="asgi-together",
        title=f"{AT_ONCE} requests at once, each awaiting {served.WAIT} s, in one process",
        unit="ms",
        measures_itself=True,
        subjects=(
            Subject(OURS_APART, partial(called_at_once, "ours"), at_most=WITHIN),
            Subject(QUART_APART, partial(called_at_once, "quart")),
            Subject(OURS_SERVED, partial(asked_at_once, "ours"), at_most=WITHIN),
            Subject(QUART_SERVED, partial(asked_at_once, "quart")),
        ),
        comparisons=(
            Comparison("without a server, beside Quart", OURS_APART, QUART_APART),
            Comparison("on uvicorn, beside Quart", OURS_SERVED, QUART_SERVED),
        ),
    ),
)
