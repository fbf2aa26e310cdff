"""What a WebSocket on ASGI has of its own: messages both ways, on a thread or on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from flask import Flask, g, request, session
from flask.views import View

from asgi_exchange import ask
from asgi_socket import SocketExchange, opened
from event_loops import GIVE_UP
from flask_concurrency import (
    AsyncWebSocket,
    Concurrency,
    LoopBlocked,
    WebSocket,
)
from flask_concurrency.asgi.interface import AsgiApplication
from websocket_echo import echo

Run = Callable[[Coroutine[Any, Any, Any]], Any]
BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@BOTH
def test_text_and_bytes_come_and_go(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run, ended: Any
) -> None:
    """In their order, and each as what it was; the request is torn down once."""
    echo(app, concurrency, kind)

    async def story() -> None:
        async with opened(asgi, "/echo") as socket:
            for message in ("é", b"\xff", "", b""):
                socket.say(message)
            assert [await socket.hear() for _ in range(4)] == ["é", b"\xff", "", b""]

    run(story())
    assert ended == [None]


def test_plain_handlers_have_a_thread_each_and_async_ones_share_the_loop(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """More of either than the pool of requests has threads, and that pool stays free."""
    count = concurrency.threads.max_workers + 4

    @app.route("/sync/<int:number>", websocket=True)
    @concurrency.websocket
    def plain(ws: WebSocket, number: int) -> None:
        ws.send(f"{request.path} {g.number} {threading.current_thread().name.split('_')[0]}")
        ws.receive()

    @app.route("/async/<int:number>", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket, number: int) -> None:
        await ws.send(f"{request.path} {g.number} {threading.current_thread().name}")
        await ws.receive()

    @app.before_request
    def hook() -> None:
        g.number = (request.view_args or {}).get("number")

    @app.get("/page")
    def page() -> str:
        return "free"

    async def story(kind: str, place: str) -> None:
        sockets = [SocketExchange(asgi, f"/{kind}/{number}") for number in range(count)]
        for number, socket in enumerate(sockets):
            assert await socket.hear() == f"/{kind}/{number} {number} {place}"
        assert (await ask(asgi, "/page")).text == "free"
        for socket in sockets:
            socket.say("go")
        for socket in sockets:
            assert await socket.hear() == 1000
            await socket.end()

    run(story("sync", "websockets"))
    run(story("async", "MainThread"))


def test_a_session_is_there(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """What a page put into it, the handler of a WebSocket reads."""

    @app.get("/login")
    def login() -> str:
        session["user"] = "ada"
        return "welcome"

    @app.route("/who", websocket=True)
    @concurrency.websocket
    async def who(ws: AsyncWebSocket) -> None:
        await ws.send(session["user"])

    async def story() -> Any:
        cookie = (await ask(asgi, "/login")).get("set-cookie")
        assert cookie is not None
        async with opened(asgi, "/who", fields=[("Cookie", cookie.split(";")[0])]) as socket:
            return await socket.hear()

    assert run(story()) == "ada"


@BOTH
def test_the_clients_first_choice_of_subprotocols_wins(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """One that is spoken here, or none."""
    echo(app, concurrency, kind, subprotocols=["a", "b"])

    async def story(*offered: str) -> Any:
        socket = SocketExchange(asgi, "/echo", subprotocols=offered)
        accepted = await socket.next()
        socket.leave()
        await socket.end()
        return accepted["subprotocol"]

    assert [run(story("x", "b", "a")), run(story("x")), run(story())] == ["b", None, None]


@BOTH
def test_a_timeout_gives_nothing_and_loses_nothing(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """A message that arrives afterwards is there for the next receive."""

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    def plain(ws: WebSocket) -> None:
        ws.send(f"{ws.receive(timeout=0)!r} {ws.receive(timeout=0.001)!r}")
        ws.send(f"{ws.receive(timeout=GIVE_UP)!r}")

    @app.route("/async", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        await ws.send(f"{await ws.receive(timeout=0)!r} {await ws.receive(timeout=0.001)!r}")
        await ws.send(f"{await ws.receive(timeout=GIVE_UP)!r}")

    async def story() -> None:
        async with opened(asgi, f"/{kind}") as socket:
            assert await socket.hear() == "None None"
            socket.say("late")
            assert await socket.hear() == "'late'"
            assert await socket.hear() == 1000

    run(story())


def test_a_plain_socket_refuses_to_block_the_loop(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """A coroutine that was handed one would wait for itself."""

    @app.route("/", websocket=True)
    @concurrency.websocket
    def handler(ws: WebSocket) -> None:
        async def misuse() -> None:
            with pytest.raises(LoopBlocked, match=r"await ws\.receive"):
                await asyncio.get_running_loop().create_task(call())

        async def call() -> None:
            ws.receive()

        asyncio.run_coroutine_threadsafe(misuse(), loops[0]).result(GIVE_UP)
        ws.send("refused")

    loops: list[asyncio.AbstractEventLoop] = []

    async def story() -> Any:
        loops.append(asyncio.get_running_loop())
        async with opened(asgi, "/") as socket:
            return await socket.hear()

    assert run(story()) == "refused"


def test_a_page_and_a_websocket_may_share_a_path(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """Each is served where it belongs: one on a thread, the other on the loop."""
    echo(app, concurrency, "async", "/chat")

    @app.get("/chat")
    def page() -> str:
        return threading.current_thread().name

    async def story() -> None:
        for _ in range(2):
            assert "MainThread" not in (await ask(asgi, "/chat")).text
            async with opened(asgi, "/chat") as socket:
                socket.say("hello")
                assert await socket.hear() == "hello"

    run(story())


def test_a_class_may_handle_it(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """Its method gets the socket after ``self``."""

    class Handler(View):
        @concurrency.websocket
        def dispatch_request(self, ws: WebSocket, name: str) -> None:
            ws.send(f"{type(self).__name__} {name}")

    app.add_url_rule("/<name>", view_func=Handler.as_view("handler"), websocket=True)

    async def story() -> Any:
        async with opened(asgi, "/x") as socket:
            return await socket.hear()

    assert run(story()) == "Handler x"


@BOTH
def test_hooks_that_block_can_be_kept_off_the_loop(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """``runs_on`` moves the request, whichever side of the decorator it stands on."""

    @app.before_request
    def hook() -> None:
        g.place = threading.current_thread().name

    @app.route("/async", websocket=True)
    @concurrency.runs_on("threads")
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        await ws.send(f"{g.place.split('_')[0]} {threading.current_thread().name}")

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    @concurrency.runs_on("loop")
    def plain(ws: WebSocket) -> None:
        ws.send(f"{g.place.split('_')[0]} {threading.current_thread().name}")

    async def story() -> Any:
        async with opened(asgi, f"/{kind}") as socket:
            return await socket.hear()

    place = "websockets MainThread" if kind == "async" else "MainThread MainThread"
    assert run(story()) == place


@BOTH
def test_what_cannot_be_sent_is_refused(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """By the line that says it; the socket stays open."""

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    def plain(ws: WebSocket) -> None:
        for data in ({"a": 1}, None, 5):
            with pytest.raises(TypeError, match="json"):
                ws.send(data)  # type: ignore[arg-type]
        for reason in (999, 1005, 1006, 1015, 2999, 5000):
            with pytest.raises(ValueError, match=str(reason)):
                ws.close(reason)
        with pytest.raises(ValueError, match="123 bytes"):
            ws.close(message="é" * 62)
        ws.send(bytearray(b"fine"))

    @app.route("/async", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        with pytest.raises(TypeError, match="json"):
            await ws.send({"a": 1})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="1006"):
            await ws.close(1006)
        await ws.send(memoryview(b"fine"))

    async def story() -> list[Any]:
        async with opened(asgi, f"/{kind}") as socket:
            return [await socket.hear(), await socket.hear()]

    assert run(story()) == [b"fine", 1000]


@pytest.mark.parametrize("first", ["websocket.receive", "http.request"])
def test_a_server_that_speaks_out_of_turn_is_an_error(
    first: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """Nothing is guessed."""

    async def receive() -> dict[str, Any]:
        return {"type": first}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    async def story() -> None:
        scope = {"type": "websocket", "path": "/", "query_string": b"", "headers": []}
        with pytest.raises(RuntimeError, match=first):
            await asgi(scope, receive, send)

    run(story())
