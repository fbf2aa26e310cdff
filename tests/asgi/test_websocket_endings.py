"""How a WebSocket on ASGI ends, from either side, and what its handler sees of that."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import simple_websocket  # type: ignore[import-untyped]
from flask import Flask, abort, got_request_exception

from asgi_socket import SocketExchange, opened
from event_loops import GIVE_UP, until_idle
from flask_concurrency import (
    AsyncWebSocket,
    Concurrency,
    ConnectionClosed,
    DeadlineExceeded,
    WebSocket,
)
from flask_concurrency.asgi.interface import AsgiApplication
from flask_concurrency.vocabulary.websocket import closed
from websocket_echo import echo

Run = Callable[[Coroutine[Any, Any, Any]], Any]
BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@BOTH
def test_an_end_is_heard_once_all_before_it_is_received(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """With its code and text; what is sent then is refused, and closing is no error."""
    heard: list[object] = []
    go_on = asyncio.Event()

    def remember(ws: WebSocket | AsyncWebSocket, error: ConnectionClosed) -> None:
        heard.append((error.reason, error.message))
        heard.append((ws.connected, ws.close_reason, ws.close_message))

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    def plain(ws: WebSocket) -> None:
        assert (ws.connected, ws.close_reason) == (True, None)
        ws.send("ready")
        concurrency.loop.run(go_on.wait())
        heard.append(ws.receive())
        for refused in (ws.receive, lambda: ws.send("late")):
            with pytest.raises(ConnectionClosed) as caught:
                refused()
        remember(ws, caught.value)
        ws.close(4000)

    @app.route("/async", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        assert (ws.connected, ws.close_reason) == (True, None)
        await ws.send("ready")
        await go_on.wait()
        heard.append(await ws.receive())
        with pytest.raises(ConnectionClosed):
            await ws.receive()
        with pytest.raises(ConnectionClosed) as caught:
            await ws.send("late")
        remember(ws, caught.value)
        await ws.close(4000)

    async def story() -> list[dict[str, Any]]:
        async with opened(asgi, f"/{kind}") as socket:
            assert await socket.hear() == "ready"
            socket.say("last")
            socket.leave(4321, "bye")
            await until_idle()
            go_on.set()
            return await socket.end()

    assert run(story()) == []
    assert heard == ["last", (4321, "bye"), (False, 4321, "bye")]


def test_the_end_can_be_caught_as_simple_websockets() -> None:
    """Handlers written for Flask-Sock catch that one."""
    error = closed(1001, "bye")

    assert isinstance(error, ConnectionClosed)
    assert isinstance(error, simple_websocket.ConnectionClosed)
    assert (error.reason, error.message) == (1001, "bye")
    assert str(error) == "The WebSocket was closed: 1001 bye"


@BOTH
def test_an_error_closes_with_1011_and_is_logged(
    kind: str,
    app: Flask,
    concurrency: Concurrency,
    asgi: AsgiApplication,
    run: Run,
    ended: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Error trackers get it; the client gets nothing but the code."""
    app.testing = False
    told: list[BaseException] = []

    def hear(sender: Flask, exception: BaseException, **_: Any) -> None:
        told.append(exception)

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    def plain(ws: WebSocket) -> None:
        raise LookupError("secret")

    @app.route("/async", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        raise LookupError("secret")

    async def story() -> dict[str, Any]:
        async with opened(asgi, f"/{kind}") as socket:
            return await socket.next()

    with got_request_exception.connected_to(hear, app), caplog.at_level(logging.ERROR):
        said = run(story())
    assert said == {"type": "websocket.close", "code": 1011, "reason": ""}
    assert [type(error) for error in told] == [LookupError]
    assert "secret" in caplog.text
    assert ended == [None]


def test_with_testing_an_error_reaches_the_test(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run, ended: Any
) -> None:
    """As errors of views do; the socket is closed, and the request torn down."""

    @app.route("/", websocket=True)
    @concurrency.websocket
    async def fail(ws: AsyncWebSocket) -> None:
        raise LookupError

    async def story() -> None:
        socket = SocketExchange(asgi, "/")
        with pytest.raises(LookupError):
            await socket.end()
        assert socket.sent[-1]["code"] == 1011

    run(story())
    assert [type(error) for error in ended] == [LookupError]


@pytest.mark.parametrize(("status", "code"), [(403, 1008), (404, 1008), (500, 1011)])
def test_an_http_error_in_a_handler_becomes_a_code(
    status: int, code: int, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """The handshake is over, so there is no answer to put a status in."""
    app.testing = False

    @app.route("/", websocket=True)
    @concurrency.websocket
    async def handler(ws: AsyncWebSocket) -> None:
        abort(status)

    async def story() -> Any:
        async with opened(asgi, "/") as socket:
            return await socket.hear()

    assert run(story()) == code


@BOTH
def test_a_limit_on_messages_closes_with_1013(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """A block limits what is done inside a handler, by message if it likes."""

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    def plain(ws: WebSocket) -> None:
        for message in ws:
            with concurrency.limit("2/day", name="messages"):
                ws.send(message)

    @app.route("/async", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        async for message in ws:
            with concurrency.limit("2/day", name="messages"):
                await ws.send(message)

    async def story() -> list[Any]:
        async with opened(asgi, f"/{kind}") as socket:
            for message in "abc":
                socket.say(message)
            return [await socket.hear() for _ in range(3)]

    assert run(story()) == ["a", "b", 1013]


@BOTH
def test_a_deadline_ends_when_the_socket_is_open(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """It is for the answer to the handshake; a block inside a handler still counts."""
    caught: list[str] = []

    @app.route("/sync", websocket=True)
    @concurrency.deadline(GIVE_UP)
    @concurrency.websocket
    def plain(ws: WebSocket) -> None:
        ws.send(f"{concurrency.remaining()}")
        with concurrency.deadline(0.001):
            try:
                ws.receive()
            except DeadlineExceeded:
                caught.append("in time")
        ws.send("still open")

    @app.route("/async", websocket=True)
    @concurrency.deadline(GIVE_UP)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        await ws.send(f"{concurrency.remaining()}")
        caught.append("in time")
        await ws.send("still open")

    async def story() -> list[Any]:
        async with opened(asgi, f"/{kind}") as socket:
            return [await socket.hear() for _ in range(3)]

    assert run(story()) == ["None", "still open", 1000]
    assert caught == ["in time"]


@BOTH
def test_the_end_of_the_server_ends_it(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run, ended: Any
) -> None:
    """The client gets 1001, whether its handler listens or not; one that comes later as well."""
    drain = app.extensions["concurrency"].drain
    echo(app, concurrency, kind)

    async def story() -> list[Any]:
        async with opened(asgi, "/echo") as first:
            drain.begin()
            codes = [await first.hear()]
        async with opened(asgi, "/echo") as second:
            return [*codes, await second.hear()]

    assert run(story()) == [1001, 1001]
    assert ended == [None, None]


@BOTH
def test_a_server_that_cancels_leaves_nothing_behind(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """The handler ends, and so does its request; the client gets 1001."""
    torn_down = threading.Event()

    @app.teardown_request
    def tear_down(error: BaseException | None) -> None:
        torn_down.set()

    echo(app, concurrency, kind)

    async def story() -> None:
        socket = SocketExchange(asgi, "/echo")
        await socket.next()
        socket.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await socket.end()
        assert await asyncio.to_thread(torn_down.wait, GIVE_UP)
        assert [message.get("code") for message in socket.sent] == [1001]

    run(story())


def test_two_tasks_of_a_handler_end_together(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """A group that fails because the client has left is no error."""

    @app.route("/", websocket=True)
    @concurrency.websocket
    async def both(ws: AsyncWebSocket) -> None:
        async def listen() -> None:
            while True:
                await ws.receive()

        async with asyncio.TaskGroup() as group:
            group.create_task(listen())
            group.create_task(asyncio.Event().wait())

    async def story() -> None:
        async with opened(asgi, "/") as socket:
            socket.leave(1001)
            assert await socket.end() == []

    run(story())


def test_however_sockets_end_nothing_is_left(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """Leaving, failing, being cancelled at any moment: all permits come back, and all threads."""
    app.testing = False
    draw = random.Random(7)

    def plain(ws: WebSocket) -> None:
        for message in ws:
            ws.send(message)
            if message == "fail":
                raise LookupError

    async def awaiting(ws: AsyncWebSocket) -> None:
        async for message in ws:
            await ws.send(message)
            if message == "fail":
                raise LookupError

    limit = concurrency.limit("20 in flight", name="sockets")
    handlers: dict[str, Any] = {"sync": plain, "async": awaiting}
    for kind, handler in handlers.items():
        app.add_url_rule(f"/{kind}", kind, limit(concurrency.websocket(handler)), websocket=True)

    async def live() -> None:
        socket = SocketExchange(asgi, draw.choice(["/sync", "/async"]))
        for _ in range(draw.randrange(3)):
            socket.say(draw.choice(["text", "fail"]))
            for _ in range(draw.randrange(5)):
                await asyncio.sleep(0)
        if draw.random() < 0.3:
            socket.task.cancel()
        socket.leave(1001)
        await asyncio.wait([socket.task])
        assert socket.task.cancelled() or socket.task.exception() is None

    async def story() -> None:
        for _ in range(15):
            await asyncio.gather(*(live() for _ in range(20)))
        sockets: list[SocketExchange] = []
        while len(sockets) < 20:  # threads whose server has cancelled end a moment later
            socket = SocketExchange(asgi, "/async")
            if (await socket.next())["type"] == "websocket.accept":
                sockets.append(socket)
            else:
                await socket.end()
        for socket in sockets:
            socket.leave()
            await socket.end()

    run(story())
