"""How long a task and its request keep each other."""

from __future__ import annotations

import gc
import io
import threading
import weakref

import pytest
from flask import (
    Flask,
    Request,
    current_app,
    g,
    has_app_context,
    has_request_context,
    request,
)

from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.flask_app.work.task_context import FlaskCarrier
from flask_concurrency.runtime.deadline import remaining, within
from flask_concurrency.testing.manual_timekeeper import ManualTimekeeper
from flask_concurrency.vocabulary.errors import DeadlineExceeded
from noted_teardowns import noting_app, teardowns


@pytest.fixture
def app() -> Flask:
    """An app that notes every teardown."""
    return noting_app()


def test_a_task_may_outlive_its_request(app: Flask, threads: ThreadExecutor) -> None:
    """What it has of the request stays readable to its end."""
    gate = threading.Event()

    def task() -> tuple[str, str]:
        assert gate.wait(5)
        return request.path, request.form["key"]

    with app.test_request_context("/here", method="POST", data={"key": "value"}):
        assert request.form["key"] == "value"
        future = threads.submit(task)
    gate.set()
    assert future.result(5) == ("/here", "value")


def test_an_upload_stays_open_for_the_view(app: Flask, threads: ThreadExecutor) -> None:
    """A task that ends closes nothing of its caller's request."""

    @app.post("/")
    def upload() -> dict[str, str]:
        file = request.files["file"]
        assert threads.submit(lambda: request.files["file"].filename).result(5) == "a.txt"
        return {"text": file.read().decode()}

    file = (io.BytesIO(b"text"), "a.txt")
    assert app.test_client().post("/", data={"file": file}).json == {"text": "text"}


@pytest.mark.parametrize("fails", [False, True])
def test_pitfall_6_a_request_is_let_go_with_its_last_task(app: Flask, fails: bool) -> None:
    """The future, and the error with its traceback, may be kept; body and uploads are not."""

    def task() -> None:
        if fails:
            raise LookupError

    with ThreadExecutor(1, carry=FlaskCarrier()) as threads:

        def view() -> tuple[object, weakref.ref[Request]]:
            with app.test_request_context(method="POST", data=b"x" * 1_000):
                assert len(request.get_data()) == 1_000
                error = threads.submit(task).exception(5)
                seen = request._get_current_object()  # type: ignore[attr-defined]
                return (error, threads.map(int, range(3))), weakref.ref(seen)

        kept, ref = view()
    gc.collect()  # Flask's own request contexts are cyclic
    assert kept
    assert ref() is None


def test_pitfall_6_background_work_keeps_no_request(app: Flask) -> None:
    """While it waits and while it runs, body, uploads and session are gone with the response."""
    begun, gate = threading.Event(), threading.Event()

    def work() -> tuple[str, bool]:
        begun.set()
        assert gate.wait(30)
        return current_app.name, has_request_context()

    with ThreadExecutor(1, carry=FlaskCarrier()) as threads:

        def view() -> tuple[object, object, weakref.ref[Request]]:
            with app.test_request_context(method="POST", data=b"x" * 1_000):
                assert len(request.get_data()) == 1_000
                seen = request._get_current_object()  # type: ignore[attr-defined]
                return threads.spawn(work), threads.spawn(work), weakref.ref(seen)

        running, waiting, ref = view()
        assert begun.wait(30)
        gc.collect()  # Flask's own request contexts are cyclic
        assert ref() is None
        gate.set()
    for future in (running, waiting):
        assert future.result(30) == (app.name, False)  # type: ignore[attr-defined]


def test_background_work_has_an_app_context_of_its_own(app: Flask, threads: ThreadExecutor) -> None:
    """Torn down once, with its error; the request's names say that there is none."""

    def work() -> str:
        assert list(g) == []
        with pytest.raises(RuntimeError, match="outside of request context"):
            _ = request.path
        raise LookupError("its own")

    @app.post("/")
    def view() -> str:
        g.of_the_view = True
        app.extensions["spawned"] = threads.spawn(work)
        return ""

    app.test_client().post("/")
    error = app.extensions["spawned"].exception(30)
    assert isinstance(error, LookupError)
    assert [torn_down for _, torn_down in teardowns(app) if torn_down] == [error]
    assert len(teardowns(app)) == 2


def test_background_work_is_not_under_the_requests_deadline(
    app: Flask, threads: ThreadExecutor
) -> None:
    """And from outside of a request it has the app that was given."""
    with app.test_request_context(), within(60.0) as deadline:
        deadline.expire()
        assert threads.spawn(remaining).result(30) is None
    with ThreadExecutor(1, carry=FlaskCarrier(app)) as pool:
        assert pool.spawn(lambda: current_app.name).result(30) == app.name
    assert not threads.spawn(has_app_context).result(30)


def test_an_expired_deadline_of_the_request_drops_its_queued_tasks(app: Flask) -> None:
    """The carrier captures the instant, and the executor compares it when a thread is free."""
    time, gate, entered = ManualTimekeeper(), threading.Event(), threading.Event()
    threads = ThreadExecutor(1, carry=FlaskCarrier(), clock=time.clock, timekeeper=time)
    with threads, app.app_context():

        def occupy() -> None:
            entered.set()
            assert gate.wait(5)

        threads.submit(occupy)
        assert entered.wait(5)
        with within(1.0, time.clock):
            late = threads.submit(int)
        time.advance(1.0)
        gate.set()
        with pytest.raises(DeadlineExceeded):
            late.result(5)
