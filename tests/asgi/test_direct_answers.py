"""Flask's dispatch answers on ASGI by itself, and whatever stands around it has its say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest
import werkzeug.wrappers
from flask import Flask, Response, after_this_request, g, request

from asgi_exchange import Answer, ask
from flask_concurrency import Concurrency, InFlight
from flask_concurrency.asgi.interface import AsgiApplication
from flask_concurrency.telemetry.metrics import REQUEST_DURATION, RESPONSE_SIZE

Run = Callable[[Coroutine[Any, Any, Any]], Any]
PATHS = ["/async", "/sync"]


@pytest.fixture
def calls(app: Flask, concurrency: Concurrency, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What of WSGI was called, in an app with a plain and an asynchronous view."""
    calls: list[str] = []

    @app.get("/async")
    async def on_loop() -> str:
        await asyncio.sleep(0)
        return "Hello"

    @app.get("/sync")
    def on_thread() -> str:
        return "Hello"

    stock = werkzeug.wrappers.Response.__call__

    def noted(self: Any, environ: Any, start_response: Any) -> Iterable[bytes]:
        calls.append("Response")
        return stock(self, environ, start_response)

    monkeypatch.setattr(werkzeug.wrappers.Response, "__call__", noted)
    return calls


def hello(run: Run, asgi: AsgiApplication, path: str) -> Answer:
    """Ask, and see that the answer is right."""
    answer: Answer = run(ask(asgi, path))
    assert (answer.status, answer.body, answer.get("content-length")) == (200, b"Hello", "5")
    return answer


@pytest.mark.parametrize("path", PATHS)
def test_a_short_answer_passes_no_wsgi(
    path: str, asgi: AsgiApplication, calls: list[str], run: Run
) -> None:
    """Nothing of a response is called that is only for WSGI."""
    hello(run, asgi, path)
    assert calls == []


@pytest.mark.parametrize("path", PATHS)
def test_middleware_is_passed_wherever_it_stands(
    path: str, app: Flask, asgi: AsgiApplication, calls: list[str], run: Run
) -> None:
    """Also one that is put around an app that has answered already."""
    hello(run, asgi, path)
    inner = app.wsgi_app

    def middleware(environ: Any, start_response: Any) -> Iterable[bytes]:
        calls.append("middleware")
        return inner(environ, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    hello(run, asgi, path)
    assert calls == ["middleware", "Response"]


@pytest.mark.parametrize("name", ["__call__", "wsgi_app"])
def test_what_a_tool_puts_in_place_of_flasks_own_is_called(
    name: str,
    app: Flask,
    asgi: AsgiApplication,
    calls: list[str],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As tools for tracing do, even while the app is in use."""
    hello(run, asgi, "/async")
    stock = getattr(Flask, name)

    def traced(self: Flask, environ: Any, start_response: Any) -> Any:
        calls.append("traced")
        return stock(self, environ, start_response)

    monkeypatch.setattr(Flask, name, traced)
    hello(run, asgi, "/async")
    # The extension has the app's ``wsgi_app`` as it was when the app was given to it.
    assert ("traced" in calls) == (name == "__call__")


def test_a_wsgi_app_that_was_patched_before_is_called(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an app of that class is given later is no secret to the tool either."""
    traced: list[str] = []
    stock = Flask.wsgi_app

    def wsgi_app(self: Flask, environ: Any, start_response: Any) -> Any:
        traced.append(environ["PATH_INFO"])
        return stock(self, environ, start_response)

    monkeypatch.setattr(Flask, "wsgi_app", wsgi_app)
    app = Flask("traced")
    app.testing = True
    concurrency = Concurrency(app)

    @app.get("/async")
    async def view() -> str:
        return "Hello"

    hello(run, concurrency.asgi_app(app), "/async")
    assert traced == ["/async"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["__call__", "get_wsgi_headers", "get_app_iter", "iter_encoded"])
def test_a_response_says_itself_in_its_own_way(
    path: str, name: str, app: Flask, asgi: AsgiApplication, calls: list[str], run: Run
) -> None:
    """A class that overrides how it is sent is sent so."""
    stock = getattr(Response, name)

    def own(self: Any, *given: Any) -> Any:
        calls.append("own")
        return stock(self, *given)

    app.response_class = type("Own", (Response,), {name: own})
    hello(run, asgi, path)
    assert "own" in calls


@pytest.mark.parametrize("path", PATHS)
def test_limits_say_the_same_fields(
    path: str,
    app: Flask,
    concurrency: Concurrency,
    asgi: AsgiApplication,
    calls: list[str],
    run: Run,
) -> None:
    """Those of a request that is let in, and those of one that is refused."""
    concurrency.limit("2/minute", InFlight(3))(app.view_functions["on_loop"])
    concurrency.limit("2/minute", InFlight(3))(app.view_functions["on_thread"])
    first = hello(run, asgi, path)
    second = app.test_client().get(path)
    assert calls == ["Response"]  # of the second alone
    names = {name for name, _ in first.fields}
    assert names == {name.lower() for name, _ in second.headers.items()}
    assert first.get("ratelimit-policy") == second.headers["RateLimit-Policy"]
    assert ";r=1" in (first.get("ratelimit") or "")
    assert ";r=0" in second.headers["RateLimit"]
    refused: Answer = run(ask(asgi, path))
    assert refused.status == 429
    assert refused.get("retry-after") is not None


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_hooks_teardowns_and_closing_come_in_the_same_order(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """On ASGI as on WSGI: the context is gone when a response is closed."""
    order: list[str] = []
    app.before_request(lambda: order.append("before"))
    app.teardown_request(lambda error: order.append(f"teardown {type(error).__name__}"))
    app.teardown_appcontext(lambda error: order.append("app"))

    def answer() -> Response:
        g.seen = True

        @after_this_request
        def after(response: Response) -> Response:
            order.append("after")
            return response

        response = Response("Hello")
        response.call_on_close(lambda: order.append(f"closed {bool(request)}"))
        return response

    @app.get("/async")
    async def on_loop() -> Response:
        return answer()

    @app.get("/sync")
    def on_thread() -> Response:
        return answer()

    hello(run, asgi, f"/{kind}")
    on_asgi, order[:] = list(order), []
    app.test_client().get(f"/{kind}").close()
    assert on_asgi == order


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_an_error_of_a_view_goes_where_it_goes_on_wsgi(
    kind: str, app: Flask, asgi: AsgiApplication, ended: list[BaseException | None], run: Run
) -> None:
    """To the handler of 500, and to the teardown."""
    app.testing = False

    def fail() -> str:
        raise ZeroDivisionError

    @app.get("/async")
    async def on_loop() -> str:
        return fail()

    app.add_url_rule("/sync", view_func=fail)
    answer: Answer = run(ask(asgi, f"/{kind}"))
    assert answer.status == 500
    [error] = ended
    assert isinstance(error, ZeroDivisionError)


def test_a_permit_is_back_before_the_answer_is_sent(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """A client's next request never meets its own last one inside."""

    @app.get("/")
    @concurrency.limit("1 in flight")
    async def view() -> str:
        return "Hello"

    async def story() -> None:
        for _ in range(3):
            assert (await ask(asgi, "/")).status == 200

    run(story())


@pytest.mark.parametrize("path", PATHS)
def test_an_app_that_is_counted_passes_no_wsgi(
    path: str,
    app: Flask,
    concurrency: Concurrency,
    asgi: AsgiApplication,
    calls: list[str],
    run: Run,
) -> None:
    """And each of its answers is counted, with its size."""
    concurrency.metrics(app)
    for _ in range(3):
        hello(run, asgi, path)
    assert calls == []
    totals = app.extensions["concurrency"].counters.get().totals()
    assert sum(totals[REQUEST_DURATION.name, "GET", path, "200"][:-1]) == 3
    assert totals[RESPONSE_SIZE.name, "GET", path][-1] == 15
