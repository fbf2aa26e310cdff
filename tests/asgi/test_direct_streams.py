"""Bodies that come piece by piece: alike with WSGI in between and without, where they need less."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from flask import Flask, Response, request

from asgi_exchange import Answer, Exchange, ask
from flask_concurrency import Concurrency
from flask_concurrency.asgi.interface import AsgiApplication
from flask_concurrency.runtime import greenlet_bridge

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Source = Callable[[], AsyncIterator[Any]]


def pieces(source: Source) -> Any:
    """A body that Flask's types do not know of."""
    return source()


@pytest.fixture(params=["direct", "by WSGI"])
def asgi(request: pytest.FixtureRequest, app: Flask, concurrency: Concurrency) -> AsgiApplication:
    """The app's ASGI application; and the same with a middleware that does nothing."""
    if request.param == "by WSGI":
        inner = app.wsgi_app
        app.wsgi_app = partial(inner)  # type: ignore[method-assign]
    return concurrency.asgi_app(app)


@pytest.fixture(params=["async", "sync"])
def streams(
    request: pytest.FixtureRequest, app: Flask, concurrency: Concurrency
) -> Callable[[Source], None]:
    """Have ``/`` answer with a source: from an asynchronous view, or from a plain one."""

    def add(source: Source) -> None:
        async def on_loop() -> Any:
            return concurrency.event_stream(source(), heartbeat=None)

        def on_thread() -> Any:
            return concurrency.event_stream(source(), heartbeat=None)

        view = {"async": on_loop, "sync": on_thread}[request.param]
        app.add_url_rule("/", view_func=concurrency.limit("1 in flight")(view))

    return add


def test_pieces_come_one_by_one_and_the_permit_stays_to_the_last(
    asgi: AsgiApplication, streams: Callable[[Source], None], run: Run
) -> None:
    """A second client is refused while the first one is still sent something."""
    go_on = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        yield request.path
        await go_on.wait()
        yield "é"

    streams(source)

    async def story() -> Answer:
        exchange = Exchange(asgi)
        await exchange.until_parts(2)
        assert (await ask(asgi)).status == 503
        go_on.set()
        answer = await exchange.end()
        assert (await ask(asgi)).status == 200
        return answer

    answer: Answer = run(story())
    assert answer.complete
    assert "data: /\n" in answer.text
    assert "é" in answer.text
    assert answer.get("content-length") is None


def test_a_client_that_leaves_ends_the_source_in_its_request(
    app: Flask, asgi: AsgiApplication, streams: Callable[[Source], None], run: Run
) -> None:
    """Its ``finally`` runs with the request it began with, and the permit comes back."""
    ended: list[str] = []

    async def source() -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(request.path)

    streams(source)

    async def story() -> None:
        for _ in range(2):
            exchange = Exchange(asgi)
            await exchange.until_parts(2)
            exchange.leave()
            await exchange.end()

    run(story())
    assert ended == ["/", "/"]


def test_an_error_amid_a_stream_reaches_the_server(
    asgi: AsgiApplication, streams: Callable[[Source], None], run: Run
) -> None:
    """Which cuts the answer off; and the permit comes back."""

    async def source() -> AsyncIterator[str]:
        yield "first"
        raise LookupError("second")

    streams(source)

    async def story() -> None:
        for _ in range(2):
            exchange = Exchange(asgi)
            with pytest.raises(LookupError, match="second"):
                await exchange.end()
            assert exchange.answer.status == 200
            assert not exchange.answer.complete

    run(story())


def test_a_source_that_is_cancelled_by_itself_cancels_no_server(
    asgi: AsgiApplication, streams: Callable[[Source], None], run: Run
) -> None:
    """The server's task has an error and goes on."""

    async def source() -> AsyncIterator[str]:
        yield "first"
        raise asyncio.CancelledError

    streams(source)

    async def story() -> None:
        with pytest.raises(concurrent.futures.CancelledError):
            await Exchange(asgi).end()

    run(story())


def test_what_waits_for_the_end_of_a_response_is_called_once(
    app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """After the last piece, and where no piece is asked for as well."""
    closed: list[str] = []

    async def source() -> AsyncIterator[str]:
        yield ""
        yield "é"

    @app.get("/")
    async def view() -> Response:
        response = Response(pieces(source))
        response.call_on_close(lambda: closed.append(response.status))
        return response

    assert run(ask(asgi)).parts == ["é".encode()]
    assert run(ask(asgi, method="HEAD")).body == b""
    assert closed == ["200 OK", "200 OK"]


async def held(go_on: asyncio.Event) -> AsyncIterator[str]:
    """A source that waits after its first piece."""
    yield "first"
    await go_on.wait()


def test_no_stack_is_kept_while_a_stream_waits(
    app: Flask, concurrency: Concurrency, run: Run
) -> None:
    """However many are open: nothing but middleware needs one."""
    asgi = concurrency.asgi_app(app)
    go_on = asyncio.Event()

    @app.get("/")
    async def view() -> Response:
        return Response(pieces(lambda: held(go_on)))

    async def story() -> None:
        exchanges = [Exchange(asgi) for _ in range(5)]
        for exchange in exchanges:
            await exchange.until_parts(1)
        assert len(greenlet_bridge.idle.stacks) == 1  # which made them one after the other
        go_on.set()
        for exchange in exchanges:
            assert (await exchange.end()).complete

    run(story())


def test_nothing_but_the_sender_waits_for_an_event(
    app: Flask, concurrency: Concurrency, run: Run
) -> None:
    """However many streams are open: each coroutine in between takes 300 bytes."""
    asgi = concurrency.asgi_app(app)
    go_on = asyncio.Event()

    @app.get("/")
    async def view() -> Response:
        return concurrency.event_stream(held(go_on))

    async def story() -> list[str]:
        exchange = Exchange(asgi)
        await exchange.until_parts(2)  # a sign of life, and the first event
        names: list[str] = []
        waiting: Any = exchange.task.get_coro()
        while hasattr(waiting, "cr_await"):
            names.append(waiting.__qualname__)
            waiting = waiting.cr_await
        go_on.set()
        assert (await exchange.end()).complete
        return names[names.index("AsgiBridge.__call__") :]

    assert run(story()) == ["AsgiBridge.__call__", "_stream"]
