"""How bodies come in and go out on ASGI, piece by piece, and how a stream is closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from flask import Flask, Response, request, stream_with_context
from flask.typing import ResponseReturnValue

from asgi_exchange import Answer, Exchange, ask
from event_loops import until, until_idle
from flask_concurrency import Concurrency
from flask_concurrency.asgi.interface import AsgiApplication

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_a_stream_that_is_closed_is_not_torn_out_of_that(
    app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """The server says the same twice: nothing can be sent, and the client has left."""
    closed: list[str] = []
    asked_again: list[str] = []
    exchanges: list[Exchange] = []

    @app.get("/")
    async def view() -> ResponseReturnValue:
        async def parts() -> AsyncIterator[str]:
            try:
                yield "a"
                asked_again.append("for what is never read")
            finally:
                exchanges[0].leave()
                await until(lambda: exchanges[0].left_heard)
                await until_idle()
                closed.append("closed")

        return Response(parts())  # type: ignore[arg-type]

    class Gone(Exchange):
        async def _send(self, message: Any) -> None:
            await until(lambda: self._receiving)  # the watch
            raise OSError("gone")

    async def story() -> None:
        exchanges.append(Gone(asgi))
        await exchanges[0].end()

    run(story())
    assert (closed, asked_again) == (["closed"], [])


@pytest.mark.parametrize("ending", ["client left", "server cancelled"])
def test_an_async_stream_of_a_request_on_a_thread_is_read_on_the_loop(
    ending: str, app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """It holds no thread, and ends at once when its client leaves, whatever it waits for."""
    closed = []

    @app.get("/")
    @concurrency.runs_on("threads")
    async def view() -> ResponseReturnValue:
        async def parts() -> AsyncIterator[str]:
            try:
                yield "a"
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                closed.append("closed")

        return Response(parts())  # type: ignore[arg-type]

    async def story() -> None:
        exchange = Exchange(asgi)
        await exchange.until_parts(1)
        await until(lambda: not concurrency.threads.snapshot().busy)  # it comes home a moment later
        if ending == "client left":
            exchange.leave()
            await exchange.end()
        else:
            exchange.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await exchange.end()

    run(story())
    assert closed == ["closed"]


@pytest.mark.parametrize("kind", ["async", "sync", "mixed"])
def test_pitfall_11_a_stream_is_closed_once_when_its_client_leaves(
    kind: str,
    app: Flask,
    asgi: AsgiApplication,
    concurrency: Concurrency,
    run: Run,
) -> None:
    """Wherever it is read: its ``finally`` runs, and the permit comes back."""
    closed = []
    left = threading.Event()

    def parts() -> Iterator[str]:
        try:
            yield request.path
            assert left.wait(30)
            yield "dropped"
            yield "never"
        finally:
            closed.append(request.path)

    async def async_parts() -> AsyncIterator[str]:
        try:
            yield "/"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            closed.append("/")

    if kind == "async":

        async def view() -> ResponseReturnValue:
            return Response(async_parts())  # type: ignore[arg-type]
    elif kind == "mixed":

        async def view() -> ResponseReturnValue:
            return Response(stream_with_context(parts()))
    else:

        def view() -> ResponseReturnValue:  # type: ignore[misc]
            return Response(stream_with_context(parts()))

    app.add_url_rule("/", view_func=concurrency.limit("1 in flight", name="stream")(view))

    @app.get("/free")
    @concurrency.limit("1 in flight", name="stream")
    async def free() -> str:
        return "free"

    async def story() -> Answer:
        exchange = Exchange(asgi)
        await exchange.until_parts(1)
        assert (await ask(asgi, "/free")).status == 503
        exchange.leave()
        await until(lambda: exchange.left_heard)
        left.set()
        answer = await exchange.end()
        assert (await ask(asgi, "/free")).status == 200
        return answer

    answer = run(story())
    assert answer.body == b"/"
    assert closed == ["/"]


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize("ending", ["client left", "server cancelled"])
def test_a_generator_that_is_at_work_is_closed_after_its_step(
    events: bool,
    ending: str,
    app: Flask,
    asgi: AsgiApplication,
    concurrency: Concurrency,
    run: Run,
) -> None:
    """A plain one of an async view: a thread cannot be stopped, nor two be in one context."""
    at_work, go_on = threading.Event(), threading.Event()
    closed = []

    def parts() -> Iterator[str]:
        try:
            yield "first"
            at_work.set()
            assert go_on.wait(30)
            yield "dropped"
        finally:
            closed.append(request.path)

    @app.get("/")
    @concurrency.limit("1 in flight")
    async def view() -> ResponseReturnValue:
        source = stream_with_context(parts())
        return concurrency.event_stream(source, heartbeat=None) if events else Response(source)

    async def story() -> None:
        exchange = Exchange(asgi)
        await until(at_work.is_set)
        if ending == "client left":
            exchange.leave()
            await until(lambda: exchange.left_heard)
        else:
            exchange.task.cancel()
        for _ in range(5):  # what was sent to a thread before would have begun
            await asyncio.to_thread(threading.get_ident)
        assert not closed
        go_on.set()
        with nullcontext() if ending == "client left" else pytest.raises(asyncio.CancelledError):
            await exchange.end()
        assert (await ask(asgi)).status == 200

    run(story())
    assert closed == ["/", "/"]


def test_a_generator_that_raises_midway_closes_the_connection(
    app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """The status has gone out, so only an early end can show the error."""

    @app.get("/<kind>")
    async def view(kind: str) -> ResponseReturnValue:
        async def later() -> AsyncIterator[str]:
            yield "a"
            raise ValueError("midway")

        def now() -> Iterator[str]:
            yield "a"
            raise ValueError("midway")

        return Response(later() if kind == "later" else now())  # type: ignore[arg-type]

    @app.get("/thread")
    def thread() -> ResponseReturnValue:
        def parts() -> Iterator[str]:
            yield "a"
            raise ValueError("midway")

        return Response(parts())

    async def story() -> None:
        for path in ("/later", "/now", "/thread"):
            exchange = Exchange(asgi, path)
            with pytest.raises(ValueError, match="midway"):
                await exchange.end()
            assert exchange.answer.body == b"a"
            assert not exchange.answer.complete

    run(story())


def test_async_generators_work_on_wsgi_as_well(app: Flask, concurrency: Concurrency) -> None:
    """Item by item, on the shared loop; bare, in a response, and with a status."""

    async def parts() -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0)
        yield "b"

    @app.get("/<kind>")
    async def view(kind: str) -> Any:
        return {"bare": parts(), "response": Response(parts()), "tuple": (parts(), 202)}[kind]  # type: ignore[arg-type]

    client = app.test_client()
    assert [client.get(f"/{kind}").text for kind in ("bare", "response", "tuple")] == ["ab"] * 3
    assert client.get("/tuple").status_code == 202


def test_a_body_comes_in_as_it_is_read(app: Flask, asgi: AsgiApplication, run: Run) -> None:
    """An async view reads plain ``request.stream``, and waits for it without blocking the loop."""

    @app.post("/")
    async def view() -> str:
        return " ".join(str(len(line)) for line in request.stream)

    async def story() -> Answer:
        exchange = Exchange(asgi, "/", "POST", body=None, fields=[("transfer-encoding", "chunked")])
        for piece in (b"ab", b"c\nde", b"f"):
            exchange.send(piece)
            await until_idle()
        exchange.send(b"", more=False)
        return await exchange.end()

    assert run(story()).text == "4 3"


@pytest.mark.parametrize("path", ["/async", "/sync"])
def test_half_a_body_is_no_body(
    path: str, app: Flask, asgi: AsgiApplication, ended: list[BaseException | None], run: Run
) -> None:
    """A client that leaves before its end has sent nothing that a view may take for whole."""
    read = []

    @app.post("/async")
    async def on_loop() -> str:
        read.append(request.get_data())
        return "never"

    @app.post("/sync")
    def on_thread() -> str:
        read.append(request.get_data())
        return "never"

    async def story() -> None:
        for fields in ([("content-length", "100000")], [("transfer-encoding", "chunked")]):
            exchange = Exchange(asgi, path, "POST", body=None, fields=fields)
            exchange.send(b"half")
            await until_idle()
            exchange.leave()
            await exchange.end()

    run(story())
    assert not read
    assert len(ended) <= 2


def test_a_slow_body_holds_no_thread(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """A short body is taken in before a thread is spent on its request."""

    @app.post("/")
    def view() -> bytes:
        return request.get_data()

    async def story() -> Answer:
        exchange = Exchange(asgi, "/", "POST", body=None, fields=[("content-length", "3")])
        for piece in (b"a", b"b"):
            exchange.send(piece)
            await until_idle()
        assert concurrency.threads.snapshot().busy == 0
        exchange.send(b"c", more=False)
        return await exchange.end()

    assert run(story()).text == "abc"
