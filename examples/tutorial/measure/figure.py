"""Say what one comparison found, and time two ways fairly. Knows no chapter."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from flask import Flask
from werkzeug.test import TestResponse, create_environ, run_wsgi_app

ROUNDS = 200


@dataclass(frozen=True)
class Figure:
    """The tutorial's way and ours, side by side.

    :ivar what: What both were asked to do.
    :ivar theirs: What came of it the tutorial's way.
    :ivar ours: What came of it with Flask-Concurrency.
    :ivar timed: Whether it is a time, which differs from run to run.
    """

    what: str
    theirs: str
    ours: str
    timed: bool = False

    def __str__(self) -> str:
        rows = {"the tutorial": self.theirs, "Flask-Concurrency": self.ours}
        return "\n".join([self.what, *(f"    {who:<18} {said}" for who, said in rows.items()), ""])


def ask(app: Flask) -> TestResponse:
    """Send one request, as a client named Ada."""
    return app.test_client().get("/?name=Ada")


def results(response: TestResponse, *, tasks: int = 5) -> str:
    """How many of the tasks' lines the client received."""
    received = sum(f"Task {num} is done" in response.text for num in range(tasks))
    return f"{response.status_code}, {received} of {tasks} results reach the client"


def outcome(call: Callable[[], object]) -> str:
    """Whether a call works, and else the first sentence of its error."""
    try:
        call()
    except Exception as error:
        said = str(error).partition(". ")[0]
        while "<" in said:  # what it says of objects, one inside another
            said, found = re.subn(r"<[^<>]*>", "...", said)
            if not found:
                break
        return f"{type(error).__name__}: {said}"
    return "works"


def times_as_long(what: str, theirs: Flask, ours: Flask, *, rounds: int = ROUNDS) -> Figure:
    """Compare how long a request takes: the ratio of the medians.

    Both run in turns, so a busy machine slows them alike.
    """
    seconds: dict[Flask, list[float]] = {theirs: [], ours: []}
    for app in (theirs, ours):
        ask(app)  # start what is started once, such as a pool
    for _ in range(rounds):
        for app, taken in seconds.items():
            environ = create_environ()
            started_at = perf_counter()
            run_wsgi_app(app, environ)
            taken.append(perf_counter() - started_at)
    ratio = median(seconds[theirs]) / median(seconds[ours])
    shown = f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"
    return Figure(what, f"{shown} times as long", "1", timed=True)
