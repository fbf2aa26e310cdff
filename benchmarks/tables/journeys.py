"""Count what one request, one task and one deadline cross: calls, files, and changes of file.

A change of file is one step of control from a file of the package to another one, calls and returns
both. Nothing is timed, so a busy machine does not count; each journey is warm. The peers make the
same journey in their own packages.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.benchmark import Trial
from benchmarks.tasks import echo

OURS = "flask_concurrency"

Step = tuple[int, str, str]
"""A thread, ``"call"`` or ``"return"``, and a file."""

TARGETS: dict[str, tuple[int, int]] = {
    "a request, 3 rates and 1 in flight": (15, 68),
    "a deadline on a thread task, answered 504": (16, 80),
    "processes: one task": (14, 55),
    "processes: map of five": (18, 220),
}
"""Files and changes of file at most, for our own journeys."""


class Tracer:
    """Notes which files of some packages the threads of this process enter and leave."""

    def __init__(self, *packages: str) -> None:
        self._roots = tuple(_folder(package) for package in packages)
        self._steps: list[Step] = []
        self._on = False

    def trace(self, frame: FrameType, event: str, _: object) -> None:
        """What ``sys.setprofile`` calls."""
        if self._on and event in ("call", "return"):
            file = frame.f_code.co_filename
            if file.startswith(self._roots):
                self._steps.append((threading.get_ident(), event, file))

    def count(self, journey: Callable[[], object]) -> tuple[int, int, int]:
        """Make a journey three times, and count the calls, files and changes of the last one."""
        journey(), journey()
        self._steps.clear()
        self._on = True
        journey()
        time.sleep(0.05)  # what other threads do of it
        self._on = False
        return _counted(self._steps)


def _folder(package: str) -> str:
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{package!r} is not installed.")
    return str(Path(found.origin).parent) + os.sep


def _counted(steps: list[Step]) -> tuple[int, int, int]:
    by_thread: defaultdict[int, list[Step]] = defaultdict(list)
    for step in steps:
        by_thread[step[0]].append(step)
    calls = sum(event == "call" for _, event, _ in steps)
    files = {file for _, event, file in steps if event == "call"}
    changes = 0
    for own in by_thread.values():
        stack: list[str] = []
        path: list[str] = []
        for _, event, file in own:
            if event == "call":
                stack.append(file)
                path.append(file)
            elif stack:
                stack.pop()
                path += stack[-1:]
        changes += sum(a != b for a, b in pairwise(path))
    return calls, len(files), changes


@contextmanager
def traced(*packages: str) -> Iterator[Tracer]:
    """Trace this thread, and those started from now on."""
    tracer = Tracer(*packages)
    threading.setprofile(tracer.trace)
    sys.setprofile(tracer.trace)
    try:
        yield tracer
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


Counts = dict[str, tuple[int, int, int]]


def our_journeys() -> Counts:
    """A request, a deadline and tasks, through an app of one's own."""
    with traced(OURS) as tracer:
        from flask import Flask

        from flask_concurrency import Concurrency

        app = Flask("journeys")
        app.config["CONCURRENCY_PROCESSES"] = {"max_workers": 2}
        concurrency = Concurrency(app, default_limits="100000/day; 90000/hour", store="memory://")

        @app.get("/")
        @concurrency.limit("8000/minute; 8 in flight")
        def index() -> str:
            return "hi"

        @app.get("/late")
        @concurrency.deadline(0.02)
        def late() -> str:
            return str(concurrency.threads.submit(time.sleep, 0.06).result())

        counts = {
            "a request, 3 rates and 1 in flight": tracer.count(lambda: _request(app, "/")),
            "a deadline on a thread task, answered 504": tracer.count(
                lambda: _request(app, "/late")
            ),
        }
        with app.app_context():
            processes, threads = concurrency.processes, concurrency.threads
            counts["processes: one task"] = tracer.count(
                lambda: concurrency.processes.submit(echo, 3).result()
            )
            counts["processes: map of five"] = tracer.count(
                lambda: list(concurrency.processes.map(echo, range(5)))
            )
            counts["threads: map of five"] = tracer.count(
                lambda: list(concurrency.threads.map(echo, range(5)))
            )
            processes.shutdown()
            threads.shutdown()
    return counts


def limiter_journeys() -> Counts:
    """Flask-Limiter's request with three rates."""
    with traced("flask_limiter", "limits") as tracer:
        from benchmarks.tables.rates import flask_limiter

        app = flask_limiter("100000/day", "90000/hour", "8000/minute")
        return {"Flask-Limiter: a request, 3 rates": tracer.count(lambda: _request(app, "/"))}


def pebble_journeys() -> Counts:
    """Pebble's tasks."""
    with traced("pebble") as tracer:
        from pebble import ProcessPool

        with ProcessPool(max_workers=2, context=multiprocessing.get_context("forkserver")) as pool:
            return {
                "Pebble: one task": tracer.count(lambda: pool.schedule(echo, (3,)).result()),
                "Pebble: map of five": tracer.count(
                    lambda: list(pool.map(echo, range(5)).result())
                ),
            }


def _request(app: Any, path: str) -> None:
    from werkzeug.test import EnvironBuilder

    body = app.wsgi_app(EnvironBuilder(path=path).get_environ(), lambda *_: None)
    try:
        b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()


def measure(quick: bool) -> list[list[str]]:
    """Each package in a process of its own."""
    rows = [["", "calls", "files", "changes of file", "targets", "reached"]]
    for journeys in (our_journeys, limiter_journeys, pebble_journeys):
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as apart:
            for name, (calls, files, changes) in apart.submit(journeys).result().items():
                target = TARGETS.get(name)
                rows.append(
                    [
                        name,
                        f"{calls}",
                        f"{files}",
                        f"{changes}",
                        "" if target is None else f"≤ {target[0]}, ≤ {target[1]}",
                        "" if target is None else _reached(files, changes, target),
                    ]
                )
    return rows


def _reached(files: int, changes: int, target: tuple[int, int]) -> str:
    return "yes" if files <= target[0] and changes <= target[1] else "no"


TRIALS = (Trial("journeys", "what one request, task and deadline cross of a package", measure),)
