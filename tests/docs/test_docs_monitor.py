"""The examples of the page on monitoring do what it says."""

from __future__ import annotations

import io
import logging
from contextvars import ContextVar
from typing import Any

from flask import Flask, request

from flask_concurrency import Concurrency

PAGE = "docs/how-to/monitor.md"


class Tracker:
    """What stands for Sentry's client."""

    def __init__(self) -> None:
        self.captured: list[BaseException] = []

    def capture_exception(self, error: BaseException) -> None:
        """Remember an error."""
        self.captured.append(error)


def block(pages: dict[str, Any], beginning: str) -> str:
    """The example that begins so."""
    (found,) = [code for code in pages[PAGE].blocks("python") if code.startswith(beginning)]
    return str(found)


def make_app(error: Exception) -> tuple[Flask, Concurrency]:
    """An app with a view whose background work fails."""
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app)

    def fail() -> None:
        raise error

    @app.get("/")
    def view() -> str:
        concurrency.threads.spawn(fail)
        return "on its way"

    return app, concurrency


def test_a_tracker_hears_of_a_failed_task(pages: dict[str, Any]) -> None:
    """With the error itself, its traceback included."""
    error = ValueError("no")
    app, concurrency = make_app(error)
    tracker = Tracker()
    shown: dict[str, Any] = {"app": app, "tracker": tracker}
    exec(block(pages, "from flask_concurrency import task_failed"), shown)
    app.test_client().get("/")
    with app.app_context():
        concurrency.threads.shutdown()
    assert tracker.captured == [error]
    assert error.__traceback__ is not None


def test_a_record_of_background_work_names_its_request(pages: dict[str, Any]) -> None:
    """Although the request is over, and another thread logs."""
    app, concurrency = make_app(ValueError("no"))
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    shown = {
        "app": app, "handler": handler, "logging": logging, "request": request,
        "ContextVar": ContextVar,
    }  # fmt: skip
    exec(block(pages, "request_id = ContextVar"), shown)
    logger = logging.getLogger("flask_concurrency")
    logger.addHandler(handler)
    try:
        app.test_client().get("/", headers={"X-Request-Id": "r-17"})
        with app.app_context():
            concurrency.threads.shutdown()
    finally:
        logger.removeHandler(handler)
    assert "ERROR [r-17] flask_concurrency.executors" in said.getvalue()
