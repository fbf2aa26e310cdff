"""What ends on ASGI when a client leaves, or when the server cancels its request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest
from flask import Flask, Response
from flask.typing import ResponseReturnValue

from asgi_exchange import Answer, Exchange, ask
from event_loops import Meeting, until, until_idle
from flask_concurrency import Concurrency, InFlight
from flask_concurrency.asgi.interface import AsgiApplication

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_a_client_that_leaves_cancels_the_view(
    app: Flask,
    asgi: AsgiApplication,
    concurrency: Concurrency,
    ended: list[BaseException | None],
    run: Run,
) -> None:
    """Its ``finally`` and an asynchronous teardown run; its permit comes back."""
    meeting = Meeting()
    done = []

    @app.get("/")
    @concurrency.limit("1 in flight")
    async def view() -> str:
        try:
            await meeting.wait()
        finally:
            await asyncio.sleep(0)
            done.append("finally")
        return "never"

    @app.teardown_request
    async def teardown(error: BaseException | None) -> None:
        await asyncio.sleep(0)
        done.append("teardown")

    @app.get("/free")
    @concurrency.limit("1 in flight")
    async def free() -> str:
        return "free"

    async def story() -> None:
        exchange = Exchange(asgi)
        await meeting.reached.wait()
        exchange.leave()
        answer = await exchange.end()
        assert answer.status == 0
        meeting.go_on.set()
        assert (await ask(asgi, "/")).text == "never"

    run(story())
    assert done == ["finally", "teardown"] * 2
    assert isinstance(ended[0], asyncio.CancelledError)
    assert ended[1] is None


def test_a_view_that_swallows_its_cancellation_ends_as_it_likes(
    app: Flask, asgi: AsgiApplication, ended: list[BaseException | None], run: Run
) -> None:
    """What it answers then is dropped."""
    meeting = Meeting()

    @app.get("/")
    async def view() -> str:
        try:
            await meeting.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "nobody reads this"

    async def story() -> Answer:
        exchange = Exchange(asgi)
        await meeting.reached.wait()
        exchange.leave()
        return await exchange.end()

    assert run(story()).status == 0
    assert ended == [None]


def test_pitfall_12_a_server_may_cancel_a_request(
    app: Flask, asgi: AsgiApplication, ended: list[BaseException | None], run: Run
) -> None:
    """Its task ends as cancelled, and the request is torn down."""
    meeting = Meeting()

    @app.get("/")
    async def view() -> str:
        await meeting.wait()
        return ""

    async def story() -> None:
        exchange = Exchange(asgi)
        await meeting.reached.wait()
        exchange.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange.end()

    run(story())
    assert isinstance(ended[0], asyncio.CancelledError)


@pytest.mark.parametrize("path", ["/async", "/sync"])
def test_a_server_may_say_that_sending_is_in_vain(
    path: str, app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """The stream is closed, and nothing else is made of it."""
    closed = []

    def parts() -> Iterator[str]:
        try:
            yield "a"
            yield "never"
        finally:
            closed.append("closed")

    @app.get("/async")
    async def on_loop() -> ResponseReturnValue:
        return Response(parts())

    @app.get("/sync")
    def on_thread() -> ResponseReturnValue:
        return Response(parts())

    class Gone(Exchange):
        async def _send(self, message: Any) -> None:
            raise OSError("gone")

    async def story() -> None:
        await Gone(asgi, path).end()

    run(story())
    assert closed == ["closed"]


def test_a_task_that_was_cancelled_is_an_error_of_its_view(
    app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """The request itself was not cancelled, so the app's own handler answers it, as on WSGI."""

    @app.errorhandler(CancelledError)
    def told(error: CancelledError) -> tuple[str, int]:
        return str(error), 500

    @app.get("/")
    async def view() -> str:
        task = asyncio.create_task(asyncio.Event().wait())
        await until_idle()
        task.cancel()
        await task
        return "never"

    answer = run(ask(asgi))
    response = app.test_client().get("/")
    assert (answer.status, answer.text) == (response.status_code, response.text)
    assert "was cancelled while it ran" in answer.text


def test_a_thread_that_runs_on_answers_nobody(
    app: Flask, asgi: AsgiApplication, ended: list[BaseException | None], run: Run
) -> None:
    """A sync view cannot be stopped; its answer is dropped, and torn down as usual."""
    inside, leave = threading.Event(), threading.Event()

    @app.get("/")
    def view() -> str:
        inside.set()
        assert leave.wait(30)
        return "nobody reads this"

    async def story() -> Answer:
        exchange = Exchange(asgi)
        await until(inside.is_set)
        exchange.leave()
        await until(lambda: exchange.left_heard)
        leave.set()
        return await exchange.end()

    assert run(story()).status == 0
    assert ended == [None]


def test_a_body_nobody_waits_for_any_more_is_closed(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """The server cancelled the request while its view ran on a thread."""
    inside, leave = threading.Event(), threading.Event()

    @app.get("/")
    @concurrency.runs_on("threads")
    @concurrency.limit("1 in flight")
    async def view() -> ResponseReturnValue:
        async def parts() -> AsyncIterator[str]:
            yield "never"

        await asyncio.to_thread(inside.set)
        await asyncio.to_thread(leave.wait, 30)
        return Response(parts())  # type: ignore[arg-type]

    async def story() -> int:
        exchange = Exchange(asgi)
        await until(inside.is_set)
        exchange.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange.end()
        leave.set()
        await until(lambda: not concurrency.threads.snapshot().busy)
        again = Exchange(asgi)
        await again.until_parts(1)
        return again.answer.status

    assert run(story()) == 200


@pytest.mark.parametrize("notified", [False, True])
def test_a_body_that_comes_as_its_request_is_cancelled_is_closed(
    notified: bool,
    app: Flask,
    asgi: AsgiApplication,
    concurrency: Concurrency,
    run: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The thread had answered; the loop had been notified, or not yet, but not gone on with it."""
    inside, leave = threading.Event(), threading.Event()

    @app.get("/")
    @concurrency.limit(InFlight(1, max_queue=1, max_wait=30.0))
    def view() -> Response:
        async def parts() -> AsyncIterator[str]:
            yield "never"

        inside.set()
        assert leave.wait(30)
        return concurrency.event_stream(parts())

    async def story() -> int:
        exchange = Exchange(asgi)
        loop = asyncio.get_running_loop()
        await until(inside.is_set)
        leave.set()
        while not loop._ready:  # type: ignore[attr-defined]
            threading.Event().wait(0)
        if notified:
            loop.call_soon(exchange.task.cancel)  # which comes after the notice
        else:
            exchange.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange.end()
        again = Exchange(asgi)  # which waits for the permit of the other
        await again.until_parts(1)
        again.leave()
        await again.end()
        return again.answer.status

    assert run(story()) == 200
    assert not caplog.records
