"""Where a request runs can be chosen, for a view, a class or a blueprint."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from flask import Blueprint, Flask, current_app, request
from flask.views import MethodView

from asgi_exchange import ask
from flask_concurrency import Concurrency, ConfigurationError
from flask_concurrency.asgi.interface import AsgiApplication

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def hooks_ran_on_loop(app: Flask) -> dict[str, bool]:
    """By path, whether the hooks of its request ran on a loop's thread."""
    places: dict[str, bool] = {}

    @app.before_request
    def hook() -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            places[request.path] = False
        else:
            places[request.path] = True

    return places


def test_what_is_declared_decides(
    app: Flask,
    concurrency: Concurrency,
    asgi: AsgiApplication,
    hooks_ran_on_loop: dict[str, bool],
    run: Run,
) -> None:
    """The narrowest declaration wins; an async view that was sent away still runs on the loop."""
    blocking = Blueprint("blocking", __name__, url_prefix="/blocking")

    async def view() -> str:
        return f"{threading.current_thread() is loop_thread} {request.path}"

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper() -> Any:
            return current_app.ensure_sync(function)()

        return wrapper

    class Methods(MethodView):
        get = staticmethod(view)

    blocking.add_url_rule("/a", view_func=view, endpoint="a")
    blocking.add_url_rule("/b", view_func=concurrency.runs_on("loop")(wrapped(view)), endpoint="b")
    concurrency.runs_on("threads")(blocking)
    app.register_blueprint(blocking)
    app.add_url_rule("/view", view_func=view)
    app.add_url_rule("/wrapped", view_func=wrapped(view), endpoint="wrapped")
    app.add_url_rule(
        "/methods", view_func=concurrency.runs_on("threads")(Methods).as_view("methods")
    )
    loop_thread = threading.current_thread()
    paths = ["/blocking/a", "/blocking/b", "/view", "/wrapped", "/methods"]

    async def story() -> None:
        for path in paths:
            assert (await ask(asgi, path)).text == f"True {path}"

    run(story())
    assert [hooks_ran_on_loop[path] for path in paths] == [False, True, True, False, False]


def test_a_view_sent_to_a_thread_reads_its_body(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """Short bodies are there already when its coroutine runs."""

    @app.post("/")
    @concurrency.runs_on("threads")
    async def view() -> bytes:
        return request.get_data()

    assert run(ask(asgi, "/", "POST", body=b"x" * 1000)).body == b"x" * 1000


def test_another_place_is_refused_where_it_is_written(concurrency: Concurrency) -> None:
    """The message names both."""
    with pytest.raises(ConfigurationError, match='"loop", "threads" or "flask"'):
        concurrency.runs_on("moon")  # type: ignore[arg-type]
