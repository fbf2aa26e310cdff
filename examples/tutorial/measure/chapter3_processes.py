"""Measure the third chapter: five new processes a request, against five tasks on a warm pool."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flask import Flask

from flask_concurrency import Concurrency, WorkerDied

from .figure import Figure, ask, results, times_as_long

MAX_WORKERS = 2
Task = Callable[[int], object]


def figures() -> Iterator[Figure]:
    """Each step of the chapter."""
    yield Figure(
        "5 tasks that return a line each", results(ask(theirs(done))), results(ask(ours(done)))
    )
    yield Figure("5 tasks that are killed", results(ask(theirs(die))), failure(ours(die)))
    yield Figure(
        "20 requests, one after the other, 5 tasks each",
        f"{processes_used(theirs)} processes",
        f"{processes_used(ours)} processes, which is max_workers",
    )
    for method, rounds in {"fork": 15, "forkserver": 3}.items():
        yield times_as_long(
            f"A request with 5 tasks that do nothing; start method {method!r}",
            theirs(nothing, method),
            ours(nothing),
            rounds=rounds,
        )


def theirs(task: Task, method: str | None = None) -> Flask:
    """The tutorial's app.

    :param method: How a process is started; ``"fork"`` was Python's default on Linux up to 3.13,
        and ``"forkserver"`` is since 3.14.
    """
    app = Flask(__name__)
    start: Any = multiprocessing.get_context(method)

    @app.route("/")
    def index() -> str:
        processes = []
        for i in range(5):
            process = start.Process(target=task, args=(i,))
            processes.append(process)
            process.start()
        for process in processes:
            process.join()
        return "All tasks are done"

    return app


def ours(task: Task) -> Flask:
    """The same app, here."""
    app = Flask(__name__)
    app.config["CONCURRENCY_PROCESSES"] = {"max_workers": MAX_WORKERS}
    concurrency = Concurrency(app)

    @app.route("/")
    def index() -> list[object]:
        return list(concurrency.processes.map(task, range(5)))

    return app


def done(num: int) -> str:
    """Return, as the tutorial's task does."""
    return f"Task {num} is done"


def die(num: int) -> None:
    """End as the kernel ends a process that takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def failure(app: Flask) -> str:
    """What the view is told of tasks that were killed."""
    app.testing = True  # raise what a view raises
    try:
        return results(ask(app))
    except WorkerDied as died:
        return f"the view gets WorkerDied, exit code {died.exitcode}"


def nothing(num: int) -> None:
    """Do nothing."""


def sign(book: Path, num: int) -> None:
    """Write down which process this is."""
    with book.open("a") as pages:
        pages.write(f"{os.getpid()}\n")


def processes_used(way: Callable[[Task], Flask]) -> int:
    """Send 20 requests and count the processes in which their tasks ran."""
    with TemporaryDirectory() as scratch:
        book = Path(scratch, "processes")
        app = way(partial(sign, book))
        for _ in range(20):
            ask(app)
        return len(set(book.read_text().split()))
