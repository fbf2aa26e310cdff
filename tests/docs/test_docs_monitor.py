"""The examples of the page on monitoring do what it says."""

from __future__ import annotations

import io
import json
import logging
from contextvars import ContextVar
from typing import Any

import sentry_sdk
from flask import Flask, request
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from flask_concurrency import Concurrency

PAGE = "docs/how-to/monitor.md"


class Tracker(Transport):
    """What stands for Sentry's server."""

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        super().__init__(options)
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        """Remember what is sent."""
        event = envelope.get_event()
        if event is not None:
            self.events.append(dict(event))


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


def told_by_a_failed_task(handler: logging.Handler, app: Flask, concurrency: Concurrency) -> None:
    """Make a request whose background work fails, with a handler on our logger meanwhile."""
    logger = logging.getLogger("flask_concurrency")
    logger.addHandler(handler)
    try:
        app.test_client().get("/", headers={"X-Request-Id": "r-17"})
        with app.app_context():
            concurrency.threads.shutdown()
    finally:
        logger.removeHandler(handler)


def test_sentry_hears_of_a_failed_task(pages: dict[str, Any]) -> None:
    """With the error, its traceback, and the name of the task."""
    app, concurrency = make_app(ValueError("no"))
    tracker = Tracker()
    shown: dict[str, Any] = {"app": app}  # kept: a signal does not keep what listens
    sentry_sdk.init("http://key@127.0.0.1/1", transport=tracker, default_integrations=False)
    try:
        exec(block(pages, "import sentry_sdk"), shown)
        app.test_client().get("/")
        with app.app_context():
            concurrency.threads.shutdown()
    finally:
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)
    (event,) = tracker.events
    (error,) = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("ValueError", "no")
    assert error["stacktrace"]["frames"][-1]["function"] == "fail"
    assert event["tags"]["executor"] == "threads"
    assert event["tags"]["task"].endswith("fail")


def test_structlog_finds_the_request_in_background_work(pages: dict[str, Any]) -> None:
    """Each record is one line of JSON, with what was bound in the view's request."""
    app, concurrency = make_app(ValueError("no"))
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    exec(block(pages, "import structlog"), {"app": app, "handler": handler, "request": request})
    told_by_a_failed_task(handler, app, concurrency)
    record = json.loads(said.getvalue().splitlines()[0])
    assert (record["request_id"], record["path"]) == ("r-17", "/")
    assert (record["logger"], record["level"]) == ("flask_concurrency.executors", "error")


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
    told_by_a_failed_task(handler, app, concurrency)
    assert "ERROR [r-17] flask_concurrency.executors" in said.getvalue()
