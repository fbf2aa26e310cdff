"""What a WebSocket on ASGI has of its own, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import simple_websocket  # type: ignore[import-untyped]
from flask import Flask, abort, g, got_request_exception, request, session
from flask.typing import ResponseReturnValue
from flask.views import View

from asgi_exchange import ask
from asgi_socket import SocketExchange
from event_loops import until, until_idle
from flask_concurrency import (
    AsyncWebSocket,
    Concurrency,
    ConfigurationError,
    ConnectionClosed,
    DeadlineExceeded,
    LoopBlocked,
    WebSocket,
)
from flask_concurrency.asgi import websocket_connection
from flask_concurrency.asgi.interface import AsgiApplication
from flask_concurrency.asgi.websocket_connection import READ_AHEAD
from flask_concurrency.vocabulary.websocket import closed

Run = Callable[[Coroutine[Any, Any, Any]], Any]
GIVE_UP = 30.0

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@pytest.fixture
def concurrency(app: Flask, concurrency: Concurrency) -> Iterator[Concurrency]:
    """The extension; the threads of its WebSockets must go home, too."""
    yield concurrency
    app.extensions["concurrency"].executors.sockets.shutdown()


@pytest.fixture
def ended(app: Flask) -> list[BaseException | None]:
    """With what each request was torn down."""
    endings: list[BaseException | None] = []
    app.teardown_request(endings.append)
    return endings


@asynccontextmanager
async def opened(asgi: AsgiApplication, path: str, **given: Any) -> AsyncIterator[SocketExchange]:
    """A WebSocket that was accepted, and that ends with the block at the latest."""
    socket = SocketExchange(asgi, path, **given)
    accepted = await socket.next()
    assert accepted["type"] == "websocket.accept", accepted
    yield socket
    if not socket.task.done():
        socket.leave()
    await socket.end()


async def refused(asgi: AsgiApplication, path: str, **given: Any) -> dict[str, Any]:
    """The first message of an answer that is no WebSocket."""
    socket = SocketExchange(asgi, path, **given)
    answer = await socket.next()
    assert answer["type"] != "websocket.accept"
    await socket.end()
    return answer


def echo(app: Flask, concurrency: Concurrency, kind: str, rule: str = "/echo", **said: Any) -> None:
    """Register a handler that sends back what comes in."""

    def plain(ws: WebSocket) -> None:
        for message in ws:
            ws.send(message)

    async def awaiting(ws: AsyncWebSocket) -> None:
        async for message in ws:
            await ws.send(message)

    handler: Any = plain if kind == "sync" else awaiting
    view = concurrency.websocket(handler, **said)
    app.add_url_rule(rule, rule, view, websocket=True)


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


def test_one_socket_more_than_threads_is_refused(app: Flask, run: Run) -> None:
    """The server says that it is busy; the app itself has nothing to do with it."""
    app.config["CONCURRENCY_WEBSOCKET_THREADS"] = 1
    concurrency = Concurrency(app)
    asgi = concurrency.asgi_app(app)
    echo(app, concurrency, "sync")

    async def story() -> None:
        async with opened(asgi, "/echo") as socket:
            answer = await refused(asgi, "/echo")
            assert answer["status"] == 503
            assert b"retry-after" in dict(answer["headers"])
            socket.say("still here")
            assert await socket.hear() == "still here"

    run(story())
    app.extensions["concurrency"].executors.sockets.shutdown()


@BOTH
def test_a_permit_is_held_to_the_end_of_the_socket(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """The next one is refused by the limit's own answer, and let in afterwards."""
    echo(app, concurrency, kind)
    concurrency.limit("1 in flight")(app.view_functions["/echo"])

    async def story() -> None:
        async with opened(asgi, "/echo"):
            answer = await refused(asgi, "/echo")
            assert answer["status"] == 503
            assert b"ratelimit" in dict(answer["headers"])
            assert await refused(asgi, "/echo", denial=False) == {
                "type": "websocket.close",
                "code": 1013,
            }
        async with opened(asgi, "/echo"):
            pass

    run(story())


@BOTH
def test_a_rate_refuses_with_its_own_status(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """A quota is the client's affair: 429."""
    echo(app, concurrency, kind)
    concurrency.limit("1/day")(app.view_functions["/echo"])

    async def story() -> int:
        async with opened(asgi, "/echo"):
            pass
        status: int = (await refused(asgi, "/echo"))["status"]
        return status

    assert run(story()) == 429


@BOTH
def test_a_hook_can_refuse(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """The handler never runs, and the client gets the answer, or 403 by servers that have none."""
    echo(app, concurrency, kind)

    @app.before_request
    def log_in() -> ResponseReturnValue | None:
        return None if "user" in session else abort(401)

    async def story() -> None:
        assert (await refused(asgi, "/echo"))["status"] == 401
        answer = await refused(asgi, "/echo", denial=False)
        assert answer == {"type": "websocket.close", "code": 1008}

    run(story())


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


@pytest.mark.parametrize(
    ("origin", "scheme", "status"),
    [
        (None, "ws", None),
        ("http://testserver", "ws", None),
        ("https://testserver", "wss", None),
        ("https://testserver", "ws", None),  # a proxy in front ended TLS and did not tell
        ("http://testserver", "wss", 403),
        ("http://testserver:8080", "ws", 403),
        ("http://testserver.evil.example", "ws", 403),
        ("http://evil.example", "ws", 403),
        ("https://shop.example", "ws", None),
        ("https://shop.example.evil.example", "ws", 403),
        ("https://a.shop.example", "ws", None),
        ("https://a.shop.example:1", "ws", 403),
        ("null", "ws", 403),
        ("", "ws", 403),
        ("http://[", "ws", 403),
    ],
)
def test_pages_of_other_origins_are_refused_unless_they_are_named(
    origin: str | None,
    scheme: str,
    status: int | None,
    app: Flask,
    concurrency: Concurrency,
    asgi: AsgiApplication,
    run: Run,
) -> None:
    """The same origin always may; others by their whole name; clients without one are no pages."""
    echo(
        app,
        concurrency,
        "async",
        origins=["https://shop.example", re.compile(r"https://[a-z]+\.shop\.example")],
    )
    fields = [] if origin is None else [("Origin", origin)]

    async def story() -> None:
        if status is None:
            async with opened(asgi, "/echo", fields=fields, scheme=scheme):
                pass
        else:
            answer = await refused(asgi, "/echo", fields=fields, scheme=scheme)
            assert answer["status"] == status

    run(story())


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
def test_a_message_that_is_too_large_ends_it(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """Those before it are received."""
    echo(app, concurrency, kind, max_message_size=3)

    async def story() -> None:
        async with opened(asgi, "/echo") as socket:
            socket.say("123")
            assert await socket.hear() == "123"
            socket.say(b"1234")
            assert await socket.hear() == 1009

    run(story())


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
def test_a_timeout_gives_nothing_and_loses_nothing(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """What comes afterwards is there for the next one who asks."""

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


@pytest.mark.parametrize("ending", ["told", "refused", "draining"])
@BOTH
def test_sending_waits_while_the_client_takes_no_more(
    kind: str,
    ending: str,
    app: Flask,
    concurrency: Concurrency,
    asgi: AsgiApplication,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is buffered here; the end of either side ends the wait, whatever the server does."""
    monkeypatch.setattr(websocket_connection, "CLOSES_WITHIN", 0.01)
    ends: list[int] = []

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    def plain(ws: WebSocket) -> None:
        try:
            while True:
                ws.send("more")
        except ConnectionClosed as error:
            ends.append(error.reason)

    @app.route("/async", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        try:
            while True:
                await ws.send("more")
                await asyncio.sleep(0)
        except ConnectionClosed as error:
            ends.append(error.reason)

    async def story() -> None:
        async with opened(asgi, f"/{kind}") as socket:
            assert await socket.hear() == "more"
            socket.writable.clear()
            await until(lambda: socket.held_up)
            sent = len(socket.sent)
            await until_idle()
            assert len(socket.sent) == sent
            if ending == "draining":
                app.extensions["concurrency"].drain.begin()
            elif ending == "told":
                socket.tell_of_the_end(1001)
            else:
                socket.leave(1001)
            await socket.end()

    run(story())
    assert ends in ([1006], [1001])  # the server's word, or that of its refusal to send


def test_who_only_sends_hears_that_nobody_reads(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """Even where the server takes every message and never makes the handler wait."""
    sent: list[int] = []

    @app.route("/", websocket=True)
    @concurrency.websocket
    async def flood(ws: AsyncWebSocket) -> None:
        for number in range(100_000):
            await ws.send("more")
            sent.append(number)

    async def story() -> None:
        async with opened(asgi, "/") as socket:
            assert await socket.hear() == "more"
            socket.tell_of_the_end(1001)
            await socket.end()

    run(story())
    assert 1 <= len(sent) < 100_000


def test_a_handler_that_does_not_receive_holds_the_client_up(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """A few messages are taken in ahead; all others wait, and none is lost."""
    go_on = asyncio.Event()

    @app.route("/", websocket=True)
    @concurrency.websocket
    async def slow(ws: AsyncWebSocket) -> None:
        await go_on.wait()
        async for message in ws:
            await ws.send(message)

    async def story() -> None:
        async with opened(asgi, "/") as socket:
            for number in range(100):
                socket.say(str(number))
            await until_idle()
            assert socket._incoming.qsize() == 100 - READ_AHEAD
            go_on.set()
            assert [await socket.hear() for _ in range(100)] == [str(n) for n in range(100)]

    run(story())


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
    """Error trackers hear of it; the client is told nothing else."""
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
    """The client is told 1001, whether its handler listens or not; one that comes later as well."""
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
    """The handler ends, and so does its request; the client is told 1001."""
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


@BOTH
def test_a_client_that_leaves_before_it_is_let_in_is_no_error(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run, ended: Any
) -> None:
    """The handler never runs; the request ends as any other."""
    echo(app, concurrency, kind)

    async def story() -> None:
        socket = SocketExchange(asgi, "/echo")
        socket.leave(1006)
        assert await socket.end() == []

    run(story())
    assert ended == [None]


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


def test_a_plain_page_is_told_what_is_missing(app: Flask, concurrency: Concurrency) -> None:
    """A route without ``websocket=True`` never gets a WebSocket."""

    @app.route("/")
    @concurrency.websocket
    def handler(ws: WebSocket) -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match="websocket=True"):
        app.test_client().get("/")


@pytest.mark.parametrize(
    "wrong",
    [
        {"origins": "shop.example"},
        {"origins": "https://shop.example/"},
        {"subprotocols": [""]},
        {"subprotocols": [1]},
        {"max_message_size": 0},
        {"max_message_size": True},
        {"max_message_size": 1.5},
    ],
)
def test_an_option_that_is_wrong_fails_where_it_is_written(
    wrong: dict[str, Any], concurrency: Concurrency
) -> None:
    """And not when the first client comes."""
    with pytest.raises(ConfigurationError, match=str(next(iter(wrong)).rstrip("s"))):
        concurrency.websocket(lambda ws: None, **wrong)


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
