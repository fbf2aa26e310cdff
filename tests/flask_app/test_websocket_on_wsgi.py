"""WebSockets on the socket that a WSGI server lends: how they begin and end, and what they need."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, abort
from websockets.exceptions import InvalidStatus
from werkzeug.test import EnvironBuilder

from event_loops import GIVE_UP, until_idle
from flask_concurrency import (
    AsyncWebSocket,
    Concurrency,
    ConfigurationError,
    ConnectionClosed,
    DeadlineExceeded,
    WebSocket,
)
from flask_concurrency.flask_app.streaming import websocket_on_wsgi
from websocket_echo import echo_at_both
from wsgi_socket import HANDSHAKE, closing, opened, served

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@BOTH
@pytest.mark.parametrize("key", websocket_on_wsgi.SOCKETS)
def test_messages_come_and_go_on_the_lent_socket(
    key: str, kind: str, app: Flask, concurrency: Concurrency
) -> None:
    """Text and bytes of any length; then nothing more can be written, as if the client had left."""
    echo_at_both(app, concurrency)

    with opened(app, f"/{kind}", key=key) as (ws, one):
        for message in ("é", b"\xff", "x" * 200_000):
            ws.send(message)
            assert ws.recv(timeout=GIVE_UP) == message

    one.thread.join(GIVE_UP)
    assert one.writable is False


@BOTH
def test_a_refusal_is_an_ordinary_answer(kind: str, app: Flask, concurrency: Concurrency) -> None:
    """The server sends it, since the view has not accepted."""
    echo_at_both(app, concurrency)

    @app.before_request
    def log_in() -> None:
        abort(401)

    with pytest.raises(InvalidStatus) as caught, opened(app, f"/{kind}"):
        pass
    assert caught.value.response.status_code == 401


def test_a_handshake_that_is_none_is_a_bad_request(app: Flask, concurrency: Concurrency) -> None:
    """The client asked to upgrade, and left out how."""
    echo_at_both(app, concurrency)
    asks = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    first, second = socket.socketpair()

    with first, second:
        environ = EnvironBuilder("/sync", headers=asks).get_environ()
        environ["werkzeug.socket"] = second
        with app.request_context(environ):
            response = app.full_dispatch_request()

    assert response.status_code == 400


def test_a_server_that_lends_no_socket_is_named(app: Flask, concurrency: Concurrency) -> None:
    """So is what to serve the app on."""
    app.testing = True
    echo_at_both(app, concurrency)
    asks = {"Upgrade": "websocket", "Connection": "Upgrade"}

    with pytest.raises(ConfigurationError, match=r"'granian'.*gunicorn"):
        app.test_client().get("/sync", headers=asks, environ_base={"SERVER_SOFTWARE": "granian"})


def test_a_missing_package_names_the_command_that_installs_it(
    app: Flask, concurrency: Concurrency, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is needed on WSGI alone, and looked for when the first client comes."""
    app.testing = True
    echo_at_both(app, concurrency)
    monkeypatch.setitem(sys.modules, "simple_websocket", None)
    monkeypatch.delitem(sys.modules, websocket_on_wsgi.__name__)
    package = importlib.import_module("flask_concurrency.flask_app.streaming")
    monkeypatch.delattr(package, "websocket_on_wsgi")

    with pytest.raises(ConfigurationError, match=r'pip install "Flask-Concurrency\[websocket\]"'):
        app.test_client().get("/sync", headers={"Upgrade": "websocket", "Connection": "Upgrade"})


@BOTH
def test_a_timeout_gives_nothing_and_loses_nothing(
    kind: str, app: Flask, concurrency: Concurrency
) -> None:
    """A message that arrives afterwards is there for the next receive."""

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    def plain(ws: WebSocket) -> None:
        ws.send(f"{ws.receive(0)!r} {ws.receive(0.001)!r}")
        ws.send(f"{ws.receive(GIVE_UP)!r}")
        with pytest.raises(DeadlineExceeded), concurrency.deadline(0.001):
            ws.receive()

    @app.route("/async", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        await ws.send(f"{await ws.receive(0)!r} {await ws.receive(0.001)!r}")
        await ws.send(f"{await ws.receive(GIVE_UP)!r}")

    with opened(app, f"/{kind}") as (ws, _):
        assert ws.recv(timeout=GIVE_UP) == "None None"
        ws.send("late")
        assert ws.recv(timeout=GIVE_UP) == "'late'"
        assert closing(ws) == 1000


@BOTH
@pytest.mark.parametrize("size", [100, 101])
def test_a_message_may_have_its_size_and_no_more(
    size: int, kind: str, app: Flask, concurrency: Concurrency
) -> None:
    """The handler gets the reason why it ends."""
    heard: list[ConnectionClosed] = []

    @app.route("/sync", websocket=True)
    @concurrency.websocket(max_message_size=100)
    def plain(ws: WebSocket) -> None:
        try:
            ws.send(ws.receive())
        except ConnectionClosed as error:
            heard.append(error)

    @app.route("/async", websocket=True)
    @concurrency.websocket(max_message_size=100)
    async def awaiting(ws: AsyncWebSocket) -> None:
        try:
            await ws.send(await ws.receive())
        except ConnectionClosed as error:
            heard.append(error)

    with opened(app, f"/{kind}") as (ws, one):
        ws.send("x" * size)
        if size == 100:
            assert ws.recv(timeout=GIVE_UP) == "x" * 100
        assert closing(ws) == (1000 if size == 100 else 1009)
    one.thread.join(GIVE_UP)
    assert [error.reason for error in heard] == ([] if size == 100 else [1009])


def test_a_client_that_takes_nothing_holds_nobody_else_up(
    app: Flask, concurrency: Concurrency
) -> None:
    """The loop goes on, and what is sent waits in a thread that is not one of requests."""
    stuck = threading.Event()

    @app.route("/stuck", websocket=True)
    @concurrency.websocket
    async def push(ws: AsyncWebSocket) -> None:
        sending = asyncio.ensure_future(ws.send(b"x" * 10_000_000))
        await until_idle()
        stuck.set()
        await sending

    @app.get("/page")
    async def page() -> str:
        return await asyncio.to_thread(lambda: "free")

    with served(app) as (one, client):
        client.sendall(HANDSHAKE.replace(b"PATH", b"/stuck"))
        assert stuck.wait(GIVE_UP)
        assert app.test_client().get("/page").text == "free"
        client.shutdown(socket.SHUT_RDWR)
        client.close()
        one.thread.join(GIVE_UP)
    assert one.writable is False


@BOTH
def test_a_handler_that_does_not_receive_holds_the_client_up(
    kind: str, app: Flask, concurrency: Concurrency
) -> None:
    """A few messages are taken in ahead; all others wait on the wire, and none is lost."""
    held = threading.Event()
    kept: list[int] = []

    class Room(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            held.set()
            return super().wait(timeout)

    def measure(ws: Any) -> None:
        assert held.wait(GIVE_UP)
        kept.append(len(ws._server.input_buffer))

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    def plain(ws: Any) -> None:
        ws._line.room = Room()
        ws.send("ready")
        measure(ws)
        ws.send(str(sum(len(ws.receive()) for _ in range(100))))

    @app.route("/async", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: Any) -> None:
        ws._plain._line.room = Room()
        await ws.send("ready")
        await asyncio.to_thread(measure, ws._plain)
        await ws.send(str(sum([len(await ws.receive()) for _ in range(100)])))

    with opened(app, f"/{kind}", compression=None) as (ws, _):
        assert ws.recv(timeout=GIVE_UP) == "ready"
        for _ in range(100):
            ws.send(b"x" * 1000)
        assert ws.recv(timeout=GIVE_UP) == "100000"
    assert 16 <= kept[0] <= 16 + 4  # no more than one reading of 4096 bytes brings


def test_many_senders_do_not_mix_their_frames(app: Flask, concurrency: Concurrency) -> None:
    """Tasks of one handler may send at the same time."""

    @app.route("/", websocket=True)
    @concurrency.websocket
    def talk(ws: WebSocket) -> None:
        send: Callable[[int], None] = lambda number: ws.send(f"{number}" * 50_000)  # noqa: E731
        list(concurrency.threads.map(send, range(8)))

    with opened(app, "/") as (ws, _):
        heard = {str(ws.recv(timeout=GIVE_UP)) for _ in range(8)}
        assert closing(ws) == 1000
    assert heard == {f"{number}" * 50_000 for number in range(8)}
