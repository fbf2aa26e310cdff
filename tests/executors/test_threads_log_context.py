"""What a pool logs about a task, it logs with the context variables of the task's caller."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import pytest
from flask import Flask, has_request_context, request

from flask_concurrency import Concurrency
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.runtime.deadline import within
from flask_concurrency.testing.manual_timekeeper import ManualTimekeeper

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")


@contextmanager
def _records() -> Iterator[list[tuple[str, str, str]]]:
    """Message, request id and path of each record, as a filter of an app sees them."""
    seen: list[tuple[str, str, str]] = []

    def look(record: logging.LogRecord) -> bool:
        path = request.path if has_request_context() else "-"
        seen.append((record.getMessage(), REQUEST_ID.get(), path))
        return True

    logger = logging.getLogger("flask_concurrency.executors")
    logger.addFilter(look)
    try:
        yield seen
    finally:
        logger.removeFilter(look)


def test_a_background_failure_is_logged_with_its_callers_variables(
    pool_of: Callable[..., ThreadExecutor],
) -> None:
    """A request id that a filter reads is that of the request which spawned the task."""
    pool = pool_of(1)
    with _records() as records:
        for number in ("one", "two"):
            REQUEST_ID.set(number)
            pool.spawn(divmod, 1, 0)
        REQUEST_ID.set("another")
        pool.shutdown()
    assert [given for _, given, _ in records] == ["one", "two"]
    assert records[0][0] == "Background task 'divmod' of 'threads' failed"


def test_a_late_end_is_logged_with_its_request(app: Flask) -> None:
    """The request is there, as in the task itself, although the client was answered 504."""
    time = ManualTimekeeper()
    concurrency = Concurrency(app)
    pool = ThreadExecutor(1, carry=concurrency.threads._carry, clock=time.clock, timekeeper=time)
    entered, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        assert go_on.wait(30)

    with _records() as records:
        with app.test_request_context("/report"), within(1.0, time.clock):
            REQUEST_ID.set("seven")
            late = pool.submit(slow)
            assert entered.wait(30)
            time.advance(2.0)
            assert late.exception(30) is not None
        go_on.set()
        pool.shutdown()
    ((message, given, path),) = records
    assert message.endswith("ended in 'threads' 1.000 s after its deadline")
    assert (given, path) == ("seven", "/report")


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    app.testing = True
    return app
