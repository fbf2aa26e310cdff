"""Build the apps that servers serve: the same four pages with each library.

Each function imports its library itself, so that no process pays for what another one loads.

``/`` an async view · ``/sync`` a plain one · ``/wait`` one that awaits :data:`WAIT` ·
``/events`` a stream, which goes on when a client asks for ``/publish`` · ``/file`` a large file ·
``/socket`` a WebSocket that says hello and then waits for its client
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, MutableMapping
from functools import partial
from io import BytesIO
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask
    from quart import Quart

    from benchmarks.asgi_call import AsgiApplication, Receive, Send
    from flask_concurrency import AsyncWebSocket

WAIT = 0.1
"""Seconds that ``/wait`` takes."""
FILE = "BENCHMARKS_FILE"
"""Environment variable with the path of what ``/file`` sends."""
BODY = b"Hello, World!"
EVENT = b"data: news\n\n"
"""What each news is to a reader of ``/events``."""
ANSWER: list[MutableMapping[str, Any]] = [
    {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/html"), (b"content-length", b"%d" % len(BODY))],
    },
    {"type": "http.response.body", "body": BODY},
]
"""What ``/sync`` comes to."""
HELLO = "hello"
"""What ``/socket`` says when it is open."""


class Feed:
    """News for all listeners."""

    def __init__(self) -> None:
        self._published = asyncio.Event()

    async def news(self) -> AsyncIterator[str]:
        """An item at once, and one more each time there is something new."""
        while True:
            yield "news"
            await self._published.wait()

    async def events(self) -> AsyncIterator[bytes]:
        """The same as events, for libraries that spell none."""
        async for item in self.news():
            yield f"data: {item}\n\n".encode()

    def publish(self) -> None:
        """Tell all of them."""
        self._published.set()
        self._published = asyncio.Event()


async def hello() -> str:
    """Answer at once."""
    return BODY.decode()


def hello_sync() -> str:
    """Answer at once, from a plain view."""
    return BODY.decode()


def file() -> Any:
    """Send a large file."""
    from flask import send_file

    return send_file(os.environ[FILE])


async def wait() -> str:
    """Answer after a while spent awaiting."""
    await asyncio.sleep(WAIT)
    return BODY.decode()


def flask() -> Flask:
    """Flask as it comes, for a WSGI server."""
    from flask import Flask

    app = Flask("stock")
    _add_pages(app)
    app.add_url_rule("/file", view_func=file)
    return app


def ours() -> AsgiApplication:
    """The same app on ASGI."""
    from flask_concurrency import Concurrency

    app, feed = flask(), Feed()
    concurrency = Concurrency(app, store="memory://")

    @app.get("/events")
    async def events() -> Any:
        return concurrency.event_stream(feed.news())

    @app.get("/publish")
    async def publish() -> str:
        feed.publish()
        return BODY.decode()

    @app.route("/socket", websocket=True)
    @concurrency.websocket
    async def idle(ws: AsyncWebSocket) -> None:
        await ws.send(HELLO)
        async for _ in ws:
            pass

    return concurrency.asgi_app(app)


def direct() -> AsgiApplication:
    """Flask called on the loop as it is, which blocks all requests: what no bridge can undercut."""
    app = flask()

    async def call(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        messages = _answer(app, scope)
        await asyncio.sleep(0)  # answers go out together, as ours do
        for message in messages:
            await send(message)

    return call


def hop() -> AsgiApplication:
    """Flask called as it is on a thread that waits for it: what no thread pool can undercut."""
    return _on_a_waiting_thread(partial(_answer, flask()))


def hop_alone() -> AsgiApplication:
    """The same answer without Flask: what the way to a thread and back takes."""
    return _on_a_waiting_thread(lambda scope: ANSWER)


def _on_a_waiting_thread(
    answer: Callable[[MutableMapping[str, Any]], list[MutableMapping[str, Any]]],
) -> AsgiApplication:
    calls = SimpleQueue[Any]()

    def work() -> None:
        while True:
            scope, loop, answered = calls.get()
            loop.call_soon_threadsafe(answered.set_result, answer(scope))

    Thread(target=work, daemon=True).start()

    async def call(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        loop = asyncio.get_running_loop()
        answered = loop.create_future()
        calls.put((scope, loop, answered))
        for message in await answered:
            await send(message)

    return call


def _answer(app: Flask, scope: MutableMapping[str, Any]) -> list[MutableMapping[str, Any]]:
    """The messages of what Flask answers, by as little as can be."""
    environ = {
        "REQUEST_METHOD": scope["method"],
        "PATH_INFO": "/sync",  # whatever is asked for
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
    }
    for name, value in scope["headers"]:
        environ["HTTP_" + name.decode().upper().replace("-", "_")] = value.decode()
    started: list[Any] = []

    def start(status: str, fields: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started.extend((status, fields))

    body = app(environ, start)
    status, fields = started
    headers = [(name.lower().encode(), value.encode()) for name, value in fields]
    messages: list[MutableMapping[str, Any]] = [
        {"type": "http.response.start", "status": int(status[:3]), "headers": headers},
        {"type": "http.response.body", "body": b"".join(body)},
    ]
    body.close()  # type: ignore[attr-defined]
    return messages


def a2wsgi() -> AsgiApplication:
    """The same app behind a2wsgi, with as many threads as it comes with."""
    from a2wsgi import WSGIMiddleware

    return WSGIMiddleware(flask())  # type: ignore[arg-type, return-value]


def quart() -> AsgiApplication:
    """The same pages in Quart."""
    from quart import Quart, Response, websocket

    app, feed = Quart("quart"), Feed()
    _add_pages(app)

    @app.get("/events")
    async def events() -> Response:
        response = Response(feed.events(), mimetype="text/event-stream")
        response.timeout = None
        return response

    @app.get("/publish")
    async def publish() -> str:
        feed.publish()
        return BODY.decode()

    @app.websocket("/socket")
    async def idle() -> None:
        await websocket.send(HELLO)
        while True:
            await websocket.receive()

    return app  # type: ignore[return-value]


def bare() -> AsgiApplication:
    """The stream and the WebSocket without any framework: what the server itself takes."""
    feed = Feed()

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": HELLO})
            while (await receive())["type"] != "websocket.disconnect":
                pass
            return
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        headers = [(b"content-type", b"text/event-stream")]
        if scope["path"] == "/events":
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for event in feed.events():
                await send({"type": "http.response.body", "body": event, "more_body": True})
        feed.publish()
        headers = [(b"content-length", b"%d" % len(BODY))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    return app


def _add_pages(app: Flask | Quart) -> None:
    app.add_url_rule("/", view_func=hello)
    app.add_url_rule("/sync", view_func=hello_sync)
    app.add_url_rule("/wait", view_func=wait)
