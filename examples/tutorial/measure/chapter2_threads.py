"""Measure the second chapter: five new threads a request, against five tasks on a shared pool."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from flask import Flask, request

from flask_concurrency import Concurrency

from .figure import Figure, ask, results, times_as_long

MAX_WORKERS = 8
Task = Callable[[int], object]


def figures() -> Iterator[Figure]:
    """Each step of the chapter."""
    yield Figure(
        "5 tasks that return a line each", results(ask(theirs(done))), results(ask(ours(done)))
    )
    yield Figure("5 tasks that read `request`", with_errors(greet), results(ask(ours(greet))))
    yield Figure("5 tasks that fail", with_errors(fail), results(ask(ours(fail))))
    yield Figure(
        "20 requests at the same time, 5 tasks each",
        f"{threads_at_once(theirs, at_most=100)} threads at once",
        f"{threads_at_once(ours, at_most=MAX_WORKERS)} threads at once, which is max_workers",
    )
    yield times_as_long("A request with 5 tasks that do nothing", theirs(nothing), ours(nothing))


def theirs(task: Task) -> Flask:
    """The tutorial's app."""
    app = Flask(__name__)

    @app.route("/")
    def index() -> str:
        threads = []
        for i in range(5):
            thread = threading.Thread(target=task, args=(i,))
            threads.append(thread)
            thread.start()
        for thread in threads:
            thread.join()
        return "All tasks are done"

    return app


def ours(task: Task) -> Flask:
    """The same app, here."""
    app = Flask(__name__)
    app.config["CONCURRENCY_THREADS"] = {"max_workers": MAX_WORKERS}
    concurrency = Concurrency(app)

    @app.route("/")
    def index() -> list[object]:
        return list(concurrency.threads.map(task, range(5)))

    return app


def done(num: int) -> str:
    """Return, as the tutorial's task does."""
    return f"Task {num} is done"


def greet(num: int) -> str:
    """Read the request."""
    return f"Task {num} is done for {request.args['name']}"


def fail(num: int) -> str:
    """Fail."""
    raise ValueError(f"task {num}")


def nothing(num: int) -> None:
    """Do nothing."""


def with_errors(task: Task) -> str:
    """Ask the tutorial's app, and count the errors that only its threads saw."""
    errors: list[str] = []
    usual = threading.excepthook
    threading.excepthook = lambda died: errors.append(died.exc_type.__name__)
    try:
        seen = results(ask(theirs(task)))
    finally:
        threading.excepthook = usual
    return f"{seen}; {len(errors)} threads died of {errors[0]}"


def threads_at_once(way: Callable[[Task], Flask], *, at_most: int) -> int:
    """Send 20 requests together and count the tasks that are inside at the same time.

    :param at_most: The number at which the first tasks may leave; more would still be seen.
    """
    inside = most = 0
    changed = threading.Condition()

    def stay(num: int) -> None:
        nonlocal inside, most
        with changed:
            inside += 1
            most = max(most, inside)
            changed.notify_all()
            changed.wait_for(lambda: most >= at_most, timeout=10)
            inside -= 1

    app = way(stay)
    with ThreadPoolExecutor(20) as clients:
        list(clients.map(lambda _: ask(app), range(20)))
    return most
