"""WebSockets on the socket that a WSGI server lends: how they begin and end, and what they need."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask, abort, request
from websockets.exceptions import ConnectionClosed as ClientClosed
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from werkzeug.test import EnvironBuilder

from event_loops import until_idle
from flask_concurrency import (
    AsyncWebSocket,
    Concurrency,
    ConfigurationError,
    ConnectionClosed,
    DeadlineExceeded,
    WebSocket,
)
from flask_concurrency.flask_app.streaming import websocket_on_wsgi

GIVE_UP = 30.0
BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@pytest.fixture
def app() -> Flask:
    """An app whose errors are answered, as in production."""
    app = Flask("wsgi")
    app.config["CONCURRENCY_STORE"] = "memory://"
    return app


@pytest.fixture
def concurrency(app: Flask) -> Iterator[Concurrency]:
    """The extension of that app; its threads, and those that read sockets, must go home."""
    concurrency = Concurrency(app)
    yield concurrency
    concurrency.threads.shutdown()
    app.extensions["concurrency"].executors.sockets.shutdown()
    assert concurrency.loop.shutdown()
    left = [thread for thread in threading.enumerate() if "simple_websocket" in thread.name]
    assert not left


class Served:
    """One request to a WSGI server that lends its socket.

    :ivar writable: Whether the server could answer it after the app; ``None`` before that.
    :ivar error: What the app raised.
    """

    def __init__(self, app: Flask, lent: socket.socket, key: str = "werkzeug.socket") -> None:
        self._app = app
        self._lent = lent
        self._key = key
        self.writable: bool | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._lent.recv(1)
        request_line, *lines = head.decode().strip().split("\r\n")
        environ = EnvironBuilder(
            request_line.split()[1],
            headers=[(line.partition(": ")[0], line.partition(": ")[2]) for line in lines],
        ).get_environ()
        environ[self._key] = self._lent
        said: list[Any] = []
        try:
            body = b"".join(self._app(environ, lambda *given: said.append(given)))  # type: ignore[arg-type]
            status, fields = said[-1][:2]
            answer = f"HTTP/1.1 {status}\r\n"
            answer += "".join(f"{name}: {value}\r\n" for name, value in fields)
            self._lent.sendall(answer.encode() + b"\r\n" + body)
            self.writable = True
        except BrokenPipeError:
            self.writable = False
        except BaseException as error:
            self.error = error
        finally:
            self._lent.close()


@contextmanager
def served(app: Flask, **given: Any) -> Iterator[tuple[Served, socket.socket]]:
    """A request in a thread of its own, and the client's end of its connection."""
    client, lent = socket.socketpair()
    one = Served(app, lent, **given)
    one.thread.start()
    try:
        yield one, client
    finally:
        client.close()
        one.thread.join(GIVE_UP)
        assert not one.thread.is_alive()


@contextmanager
def opened(
    app: Flask, path: str, *, key: str = "werkzeug.socket", **options: Any
) -> Iterator[tuple[ClientConnection, Served]]:
    """A WebSocket to an app."""
    with (
        served(app, key=key) as (one, client),
        connect(f"ws://localhost{path}", sock=client, proxy=None, **options) as ws,
    ):
        yield ws, one


def closing(ws: ClientConnection) -> int:
    """Wait for the end, and give its code."""
    with pytest.raises(ClientClosed) as caught:
        ws.recv(timeout=GIVE_UP)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


def echo(app: Flask, concurrency: Concurrency, **said: Any) -> None:
    """Register handlers of both kinds that send back what comes in."""

    @app.route("/sync", websocket=True)
    @concurrency.websocket(**said)
    def plain(ws: WebSocket) -> None:
        while True:
            ws.send(ws.receive())

    @app.route("/async", websocket=True)
    @concurrency.websocket(**said)
    async def awaiting(ws: AsyncWebSocket) -> None:
        while True:
            await ws.send(await ws.receive())


@BOTH
@pytest.mark.parametrize("key", websocket_on_wsgi.SOCKETS)
def test_messages_come_and_go_on_the_lent_socket(
    key: str, kind: str, app: Flask, concurrency: Concurrency
) -> None:
    """Text and bytes of any length; then nothing more can be written, as if the client had left."""
    echo(app, concurrency)

    with opened(app, f"/{kind}", key=key) as (ws, one):
        for message in ("é", b"\xff", "x" * 200_000):
            ws.send(message)
            assert ws.recv(timeout=GIVE_UP) == message

    one.thread.join(GIVE_UP)
    assert one.writable is False


@BOTH
def test_a_refusal_is_an_ordinary_answer(kind: str, app: Flask, concurrency: Concurrency) -> None:
    """The server sends it, since nobody has accepted."""
    echo(app, concurrency)

    @app.before_request
    def log_in() -> None:
        abort(401)

    with pytest.raises(InvalidStatus) as caught, opened(app, f"/{kind}"):
        pass
    assert caught.value.response.status_code == 401


def test_a_handshake_that_is_none_is_a_bad_request(app: Flask, concurrency: Concurrency) -> None:
    """The client asked to upgrade, and left out how."""
    echo(app, concurrency)
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
    echo(app, concurrency)
    asks = {"Upgrade": "websocket", "Connection": "Upgrade"}

    with pytest.raises(ConfigurationError, match=r"'granian'.*gunicorn"):
        app.test_client().get("/sync", headers=asks, environ_base={"SERVER_SOFTWARE": "granian"})


def test_a_missing_package_names_the_command_that_installs_it(
    app: Flask, concurrency: Concurrency, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is needed on WSGI alone, and looked for when the first client comes."""
    app.testing = True
    echo(app, concurrency)
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
    """What comes afterwards is there for the next one who asks."""

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
def test_the_end_of_the_server_ends_it(kind: str, app: Flask, concurrency: Concurrency) -> None:
    """A handler that waits is woken, and its client told; one that comes later hears it, too."""
    echo(app, concurrency)
    drain = app.extensions["concurrency"].drain

    with opened(app, f"/{kind}") as (first, _):
        first.send("here")
        assert first.recv(timeout=GIVE_UP) == "here"
        drain.begin()
        assert closing(first) == 1001
    with opened(app, f"/{kind}") as (second, _):
        assert closing(second) == 1001


@BOTH
def test_sending_ends_with_the_server_as_well(
    kind: str, app: Flask, concurrency: Concurrency
) -> None:
    """A handler that never receives hears of it by what it sends."""

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    def plain(ws: WebSocket) -> None:
        while True:
            ws.send("more")

    @app.route("/async", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        while True:
            await ws.send("more")

    with opened(app, f"/{kind}") as (ws, _):
        assert ws.recv(timeout=GIVE_UP) == "more"
        app.extensions["concurrency"].drain.begin()
        assert set(ws) <= {"more"}
        assert ws.close_code == 1001


@BOTH
@pytest.mark.parametrize("size", [100, 101])
def test_a_message_may_have_its_size_and_no_more(
    size: int, kind: str, app: Flask, concurrency: Concurrency
) -> None:
    """The handler hears why it ends."""
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


HANDSHAKE = (
    b"GET PATH HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@BOTH
def test_a_client_that_is_cut_off_ends_its_handler(
    kind: str, app: Flask, concurrency: Concurrency
) -> None:
    """With 1006, as there was no goodbye; the request is torn down once, with no error."""
    heard: list[object] = []

    @app.teardown_request
    def tear_down(error: BaseException | None) -> None:
        heard.append((request.path, error))

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    def plain(ws: WebSocket) -> None:
        for _ in ws:
            pass
        heard.append((ws.connected, ws.close_reason, ws.close_message))

    @app.route("/async", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        async for _ in ws:
            pass
        heard.append((ws.connected, ws.close_reason, ws.close_message))

    with served(app) as (_, client):
        client.sendall(HANDSHAKE.replace(b"PATH", f"/{kind}".encode()))
        assert client.recv(12) == b"HTTP/1.1 101"

    assert heard == [(False, 1006, None), (f"/{kind}", None)]


@BOTH
def test_who_hears_it_from_a_send_hears_the_same(
    kind: str, app: Flask, concurrency: Concurrency, caplog: pytest.LogCaptureFixture
) -> None:
    """Even before the reader knows, here because it holds the client up; no error is logged."""
    heard: list[object] = []
    left = threading.Event()

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    def plain(ws: WebSocket) -> None:
        assert left.wait(GIVE_UP)
        try:
            while True:
                ws.send("anybody?")
        except ConnectionClosed as error:
            heard.append((error.reason, ws.connected, ws.close_reason))
            raise

    @app.route("/async", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        await asyncio.to_thread(left.wait, GIVE_UP)
        try:
            while True:
                await ws.send("anybody?")
        except ConnectionClosed as error:
            heard.append((error.reason, ws.connected, ws.close_reason))
            raise

    with served(app) as (_, client):
        client.sendall(HANDSHAKE.replace(b"PATH", f"/{kind}".encode()))
        assert client.recv(12) == b"HTTP/1.1 101"
        client.sendall(b"\x81\x81\x00\x00\x00\x00x" * 100)
        client.close()
        left.set()

    assert heard == [(1006, False, 1006)]
    assert "Exception" not in caplog.text


@BOTH
def test_a_client_that_does_not_say_goodbye_is_not_waited_for(
    kind: str, app: Flask, concurrency: Concurrency, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler has ended; after a while the server takes its socket back."""
    monkeypatch.setattr(websocket_on_wsgi, "CLOSES_WITHIN", 0.01)

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    def plain(ws: WebSocket) -> None:
        ws.close(4000)

    @app.route("/async", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        await ws.close(4000)

    with served(app) as (one, client):
        client.sendall(HANDSHAKE.replace(b"PATH", f"/{kind}".encode()))
        one.thread.join(GIVE_UP)
        assert one.writable is False


@BOTH
def test_an_error_is_told_with_1011(
    kind: str, app: Flask, concurrency: Concurrency, caplog: pytest.LogCaptureFixture
) -> None:
    """And stands in the log."""

    @app.route("/sync", websocket=True)
    @concurrency.websocket
    def plain(ws: WebSocket) -> None:
        raise LookupError("secret")

    @app.route("/async", websocket=True)
    @concurrency.websocket
    async def awaiting(ws: AsyncWebSocket) -> None:
        raise LookupError("secret")

    with opened(app, f"/{kind}") as (ws, _):
        assert closing(ws) == 1011
    assert "secret" in caplog.text


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
