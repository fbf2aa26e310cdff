"""Measure what an import adds to Flask's, in an interpreter of its own each time.

In time of the processor, and with compiled modules, as ``pip`` leaves them; they are compiled by
the first call, which does not count, into a directory of this run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject

PROGRAM = """
import time
{before}
begun_at = time.process_time()
{measured}
print(time.process_time() - begun_at)
"""

ONE_LIMIT = """
from flask_concurrency import Concurrency
app = flask.Flask("shop")
app.config["CONCURRENCY_STORE"] = "memory://"
Concurrency(app, default_limits="5/minute")
app.get("/")(lambda: "Hello")
app.test_client().get("/")
"""

EVERYTHING = """
from flask_concurrency import Concurrency
app = flask.Flask("shop")
app.config["CONCURRENCY_STORE"] = "memory://"
concurrency = Concurrency(app)
concurrency.cors(app, origins="*")
concurrency.asgi_app(app)
"""

FLASK, OURS, PEERS = "Flask", "ours", "Flask-Limiter, Flask-Executor, Flask-CORS"


@contextmanager
def interpreter(measured: str, *, before: str = "import flask") -> Iterator[Call]:
    """Seconds that a program takes after what comes before it."""
    program = PROGRAM.format(before=before, measured=measured)
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def run() -> float:
            done = subprocess.run(
                [sys.executable, "-c", program],
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            )
            return float(done.stdout)

        run()
        yield run


BENCHMARKS = (
    Benchmark(
        name="start",
        title="what an import adds to Flask's, processor time",
        unit="ms",
        measures_itself=True,
        subjects=(
            Subject(FLASK, partial(interpreter, "import flask", before="")),
            Subject(OURS, partial(interpreter, "import flask_concurrency"), at_most=0.060),
            Subject(
                "ours, an app with one limit and its first request", partial(interpreter, ONE_LIMIT)
            ),
            Subject("ours, executors, ASGI and CORS in use", partial(interpreter, EVERYTHING)),
            Subject(
                PEERS, partial(interpreter, "import flask_limiter, flask_executor, flask_cors")
            ),
        ),
        comparisons=(
            Comparison("ours, beside Flask", OURS, FLASK),
            Comparison("beside those it replaces", OURS, PEERS),
        ),
    ),
)
