"""A request has one deadline: 504 after it, and no task works for it any more."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from flask import Flask, abort, jsonify
from flask.ctx import AppContext

from flask_concurrency import (
    Concurrency,
    ConfigurationError,
    DeadlineExceeded,
    DeadlinePassed,
    InFlight,
)
from flask_concurrency.runtime.deadline import current_deadline, remaining

LONG = 3600.0
"""Seconds no test takes."""


def spend(_: object = None) -> None:
    """Let the time be up, as a slow call would."""
    deadline = current_deadline()
    assert deadline is not None
    deadline.expire()


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), True, "2", None])
def test_a_deadline_that_is_no_time_is_refused_where_it_is_written(
    concurrency: Concurrency, seconds: Any
) -> None:
    """The message shows the value and an example."""
    with pytest.raises(ConfigurationError, match=r"deadline\(.*deadline\(2\.0\)"):
        concurrency.deadline(seconds)


def test_a_view_sees_how_much_time_is_left(app: Flask, concurrency: Concurrency) -> None:
    """And a view without a deadline sees ``None``."""

    @app.get("/timed")
    @concurrency.deadline(LONG)
    def timed() -> Any:
        return jsonify(concurrency.remaining())

    @app.get("/untimed")
    def untimed() -> Any:
        return jsonify(concurrency.remaining())

    client = app.test_client()
    left = client.get("/timed").json
    assert left is not None
    assert 0 < left <= LONG
    assert client.get("/untimed").json is None
    assert remaining() is None


@pytest.mark.parametrize("wrapped_first", [True, False])
def test_the_order_of_decorators_does_not_matter(
    app: Flask, concurrency: Concurrency, wrapped_first: bool
) -> None:
    """``deadline`` above the route works as well as below it."""

    def view() -> Any:
        return jsonify(concurrency.remaining() is not None)

    if wrapped_first:
        app.get("/")(concurrency.deadline(LONG)(view))
    else:
        concurrency.deadline(LONG)(app.get("/")(view))
    assert app.test_client().get("/").json is True


def test_a_late_answer_is_a_504_with_problem_details(app: Flask, concurrency: Concurrency) -> None:
    """Its client has given up, or will be told so by the proxy in between."""

    @app.get("/")
    @concurrency.deadline(LONG)
    def late() -> str:
        spend()
        return "too late"

    answer = app.test_client().get("/")
    assert answer.status_code == 504
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json(force=True) == {
        "type": "about:blank",
        "title": "Out of time",
        "status": 504,
        "detail": "The answer took longer than it may.",
    }
    page = app.test_client().get("/", headers={"Accept": "text/html"})
    assert page.status_code == 504
    assert "<h1>Out of time</h1>" in page.text


def test_an_error_after_the_deadline_is_a_504_and_in_the_log(
    app: Flask, concurrency: Concurrency, caplog: pytest.LogCaptureFixture
) -> None:
    """It most often is the time-out of a call that was given the time left."""

    @app.get("/")
    @concurrency.deadline(LONG)
    def late() -> str:
        spend()
        raise ConnectionError("timed out")

    with caplog.at_level(logging.WARNING, "flask_concurrency.deadline"):
        assert app.test_client().get("/").status_code == 504
    assert "'late' failed after its deadline" in caplog.text
    assert "ConnectionError: timed out" in caplog.text


def test_an_abort_after_the_deadline_is_a_504_without_a_word(
    app: Flask, concurrency: Concurrency, caplog: pytest.LogCaptureFixture
) -> None:
    """It is an answer like any other, and as late."""

    @app.get("/")
    @concurrency.deadline(LONG)
    def late() -> str:
        spend()
        abort(404)

    assert app.test_client().get("/").status_code == 504
    assert not caplog.records


def test_an_error_in_time_stays_what_it_is(app: Flask, concurrency: Concurrency) -> None:
    """A deadline changes nothing until it has passed."""

    @app.get("/<int:code>")
    @concurrency.deadline(LONG)
    def view(code: int) -> str:
        if code == 418:
            abort(418)
        raise ZeroDivisionError

    client = app.test_client()
    assert client.get("/418").status_code == 418
    assert client.get("/1").status_code == 500


@pytest.mark.parametrize(("registered", "in_time"), [(504, True), (DeadlineExceeded, True)])
def test_the_app_may_answer_itself(
    app: Flask, concurrency: Concurrency, registered: Any, in_time: bool
) -> None:
    """By the status or by the error, registered after the extension was."""
    seen: list[Exception] = []

    @app.errorhandler(registered)
    def handle(error: Exception) -> tuple[str, int]:
        seen.append(error)
        return "own words", 504

    @app.get("/")
    @concurrency.deadline(LONG)
    def late() -> str:
        spend()
        return "too late"

    answer = app.test_client().get("/")
    assert (answer.status_code, answer.text) == (504, "own words")
    if registered == 504:
        assert isinstance(seen[0], DeadlinePassed)
        assert isinstance(seen[0].__cause__, DeadlineExceeded)


def test_a_handler_registered_before_the_extension_is_kept() -> None:
    """The extension answers only what no handler of the app answers."""
    app = Flask(__name__)
    app.config["CONCURRENCY_STORE"] = "memory://"
    app.register_error_handler(DeadlineExceeded, lambda error: ("mine", 503))
    concurrency = Concurrency(app)

    @app.get("/")
    @concurrency.deadline(LONG)
    def late() -> str:
        spend()
        return "too late"

    assert app.test_client().get("/").status_code == 503


def test_a_handler_of_504_is_found_in_merged_contexts_too(
    app: Flask, concurrency: Concurrency, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flask 3.2 passes its context to ``handle_http_exception``."""
    given: list[object] = []

    def handle_http_exception(context: object, error: Exception) -> tuple[str, int]:
        given.extend([context, error])
        return "handled", 504

    monkeypatch.setattr(app, "handle_http_exception", handle_http_exception)
    monkeypatch.setattr("flask_concurrency.flask_app.deadline_response.CONTEXTS_ARE_MERGED", True)

    @app.get("/")
    @concurrency.deadline(LONG)
    def late() -> str:
        spend()
        return "too late"

    assert app.test_client().get("/").text == "handled"
    assert isinstance(given[0], AppContext)
    assert isinstance(given[1], DeadlinePassed)


def test_a_task_that_is_still_waited_for_at_the_deadline_ends_the_request(
    app: Flask, concurrency: Concurrency
) -> None:
    """The view waits for a thread; the deadline ends the waiting, the client gets its 504."""
    release = threading.Event()

    @app.get("/")
    @concurrency.deadline(0.05)
    def view() -> str:
        concurrency.threads.submit(release.wait, 30).result()
        return "never"

    try:
        assert app.test_client().get("/").status_code == 504
    finally:
        release.set()


@pytest.mark.slow  # its second is for a busy machine to begin the view
def test_an_async_view_is_cancelled_at_its_deadline(app: Flask, concurrency: Concurrency) -> None:
    """Its ``finally`` runs."""
    ended = threading.Event()

    @app.get("/")
    @concurrency.deadline(1.0)
    async def view() -> str:
        try:
            await asyncio.sleep(LONG)
        finally:
            ended.set()
        return "never"

    assert app.test_client().get("/").status_code == 504
    assert ended.wait(30)


def test_the_time_of_one_request_is_not_the_next_one_s(
    app: Flask, concurrency: Concurrency
) -> None:
    """Though a server uses its thread again, after an error as after an answer."""

    @app.get("/")
    @concurrency.deadline(LONG)
    def view() -> str:
        spend()
        return "late"

    @app.get("/broken")
    @concurrency.deadline(LONG)
    def broken() -> str:
        raise KeyboardInterrupt

    client = app.test_client()
    client.get("/")
    assert remaining() is None
    with pytest.raises(KeyboardInterrupt):
        client.get("/broken")
    assert remaining() is None


def test_a_request_made_by_hand_forgets_its_time_too(app: Flask, concurrency: Concurrency) -> None:
    """``test_request_context`` passes no middleware."""

    @app.get("/")
    @concurrency.deadline(LONG)
    def view() -> str:
        return str(concurrency.remaining())

    with app.test_request_context("/"):
        app.preprocess_request()
        assert concurrency.remaining() is not None
    assert concurrency.remaining() is None


def test_a_permit_of_an_overdue_request_comes_back(app: Flask, concurrency: Concurrency) -> None:
    """The next one may come in."""

    @app.get("/")
    @concurrency.limit(InFlight(1))
    @concurrency.deadline(LONG)
    def view() -> str:
        spend()
        return "late"

    client = app.test_client()
    assert [client.get("/", buffered=True).status_code for _ in range(3)] == [504, 504, 504]


def test_a_stream_may_take_longer_than_its_view(app: Flask, concurrency: Concurrency) -> None:
    """The deadline is that of the answer's beginning; what is sent has no deadline."""

    @app.get("/")
    @concurrency.deadline(LONG)
    def view() -> Any:
        def chunks() -> Any:
            yield str(concurrency.remaining())

        return chunks()

    assert app.test_client().get("/").text == "None"
