"""A request that waits for a permit, and its deadline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from flask import Flask

from flask_concurrency import Concurrency, DeadlineExceeded, InFlight, ServerBusy
from flask_concurrency.admission.waiting_room import Waiter
from flask_concurrency.runtime.deadline import current_deadline

LONG = 30.0
"""Seconds that no request waits here."""


def let_time_pass(waiter: Waiter, seconds: float) -> None:
    """Stands in for waiting: the request's deadline is there at once."""
    deadline = current_deadline()
    assert deadline is not None
    deadline.expire()


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Flask:
    """An app with one permit, and one slot in its queue."""
    monkeypatch.setattr(Waiter, "wait", let_time_pass)
    app = Flask(__name__)
    concurrency = Concurrency(app, store="memory://")

    @app.get("/")
    @concurrency.limit(InFlight(1, max_queue=1, max_wait=LONG))
    @concurrency.deadline(LONG)
    def index() -> Iterator[str]:
        yield "done"

    @app.get("/block")
    def block() -> str:
        place = concurrency.limit(InFlight(1, max_queue=1, max_wait=LONG), name="inner")
        caught: type[Exception] | None = None
        with place:
            try:
                with concurrency.deadline(LONG), place:
                    pass
            except (DeadlineExceeded, ServerBusy) as error:
                caught = type(error)
        return caught.__name__ if caught else "let in"

    return app


def test_a_deadline_that_passes_in_the_queue_is_a_504(app: Flask) -> None:
    """The next request finds the queue empty, and then the permit free."""
    with ExitStack() as inside:
        inside.enter_context(app.test_client().get("/", buffered=False))
        for _ in range(2):  # the second could not wait if the first had left its seat taken
            late = app.test_client().get("/")
            assert (late.status_code, late.mimetype) == (504, "application/problem+json")
            assert "Retry-After" not in late.headers
    assert app.test_client().get("/").status_code == 200


def test_a_block_that_waits_too_long_says_so(app: Flask) -> None:
    """The code around it may do something else with the time that is left to the request."""
    assert app.test_client().get("/block").text == "DeadlineExceeded"
