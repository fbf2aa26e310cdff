"""WebSockets, each handled by a function below ``/sync`` and by a coroutine below ``/async``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

from flask import Flask, abort, g, request
from flask.typing import ResponseReturnValue

from flask_concurrency import (
    AsyncWebSocket,
    Concurrency,
    ConnectionClosed,
    WebSocket,
    watch_signals,
)

app = Flask(__name__)
app.config["CONCURRENCY_STORE"] = "memory://"
concurrency = Concurrency(app)
watch_signals()  # gunicorn's worker loads the app on its main thread
ended: list[str] = []
"""What the handlers of ``/watch`` received at their ends, and which requests were torn down."""


@app.before_request
def greet() -> None:
    """A hook, which may refuse."""
    g.greeting = "hello"
    if "unwelcome" in request.args:
        abort(401)


@app.teardown_request
def tear_down(error: BaseException | None) -> None:
    """Record that it was called."""
    if request.path.endswith("/watch"):
        ended.append("torn down")


@app.get("/ended")
def tell() -> ResponseReturnValue:
    """What has ended since it was asked last."""
    told, ended[:] = list(ended), []
    return told


@app.get("/end")
def end() -> ResponseReturnValue:
    """Have this process told to end."""
    os.kill(os.getpid(), signal.SIGTERM)
    return "soon"


@app.route("/sync/echo", websocket=True)
@concurrency.websocket
def echo(ws: WebSocket) -> None:
    """Send back what comes in, until it ends."""
    while True:
        ws.send(ws.receive())


@app.route("/async/echo", websocket=True)
@concurrency.websocket
async def echo_async(ws: AsyncWebSocket) -> None:
    """Send back what comes in, until it ends."""
    while True:
        await ws.send(await ws.receive())


@app.route("/sync/each/<name>", websocket=True)
@concurrency.websocket(subprotocols=["second", "first"], origins="https://shop.example")
def each(ws: WebSocket, name: str) -> None:
    """Send what is known of the request, then count messages."""
    ws.send(about(ws, name))
    for number, message in enumerate(ws):
        ws.send(f"{number}: {message!r}")
        if message == "enough":
            break


@app.route("/async/each/<name>", websocket=True)
@concurrency.websocket(subprotocols=["second", "first"], origins="https://shop.example")
async def each_async(ws: AsyncWebSocket, name: str) -> None:
    """Send what is known of the request, then count messages."""
    await ws.send(about(ws, name))
    number = 0
    async for message in ws:
        await ws.send(f"{number}: {message!r}")
        number += 1
        if message == "enough":
            break


def about(ws: WebSocket | AsyncWebSocket, name: str) -> str:
    """What a handler knows of its request."""
    known: dict[str, Any] = {
        "name": name,
        "query": request.args.get("q"),
        "scheme": request.scheme,
        "method": request.method,
        "cookie": request.cookies.get("a"),
        "greeting": g.greeting,
        "subprotocol": ws.subprotocol,
        "connected": ws.connected,
    }
    return json.dumps(known)


@app.route("/sync/close", websocket=True)
@concurrency.websocket
def close(ws: WebSocket) -> None:
    """Close with a code and a text; what comes after is refused."""
    ws.close(4001, "that is all")
    try:
        ws.send("late")
    except ConnectionClosed as error:
        if (error.reason, error.message) != (4001, "that is all"):
            raise
        ended.append("closed")


@app.route("/async/close", websocket=True)
@concurrency.websocket
async def close_async(ws: AsyncWebSocket) -> None:
    """Close with a code and a text; what comes after is refused."""
    await ws.close(4001, "that is all")
    try:
        await ws.send("late")
    except ConnectionClosed as error:
        if (error.reason, error.message) != (4001, "that is all"):
            raise
        ended.append("closed")


@app.route("/sync/fail", websocket=True)
@concurrency.websocket
def fail(ws: WebSocket) -> None:
    """Fail after the first message."""
    raise LookupError(f"no {ws.receive()!r}")


@app.route("/async/fail", websocket=True)
@concurrency.websocket
async def fail_async(ws: AsyncWebSocket) -> None:
    """Fail after the first message."""
    raise LookupError(f"no {await ws.receive()!r}")


@app.route("/sync/nothing", websocket=True)
@concurrency.websocket
def nothing(ws: WebSocket) -> None:
    """Time out at once, then receive the rest."""
    ws.send(f"{ws.receive(timeout=0)!r} {ws.receive(timeout=0.01)!r}")
    ws.send(f"{ws.receive(timeout=30)!r}")


@app.route("/async/nothing", websocket=True)
@concurrency.websocket
async def nothing_async(ws: AsyncWebSocket) -> None:
    """Time out at once, then receive the rest."""
    await ws.send(f"{await ws.receive(timeout=0)!r} {await ws.receive(timeout=0.01)!r}")
    await ws.send(f"{await ws.receive(timeout=30)!r}")


@app.route("/sync/small", websocket=True)
@concurrency.websocket(max_message_size=100)
def small(ws: WebSocket) -> None:
    """Take short messages only."""
    for message in ws:
        ws.send(message)


@app.route("/async/small", websocket=True)
@concurrency.websocket(max_message_size=100)
async def small_async(ws: AsyncWebSocket) -> None:
    """Take short messages only."""
    async for message in ws:
        await ws.send(message)


@app.route("/sync/one", websocket=True)
@concurrency.limit("1 in flight")
@concurrency.deadline(30)
@concurrency.websocket
def one(ws: WebSocket) -> None:
    """Only one at a time."""
    ws.send(f"alone, {concurrency.remaining()}")
    ws.receive()


@app.route("/async/one", websocket=True)
@concurrency.limit("1 in flight")
@concurrency.deadline(30)
@concurrency.websocket
async def one_async(ws: AsyncWebSocket) -> None:
    """Only one at a time."""
    await ws.send(f"alone, {concurrency.remaining()}")
    await ws.receive()


@app.route("/sync/watch", websocket=True)
@concurrency.websocket
def watch(ws: WebSocket) -> None:
    """Remember how it ends."""
    ws.send("watching")
    try:
        ws.receive()
    except ConnectionClosed as error:
        ended.append(f"{error.reason} {error.message}")
        raise


@app.route("/async/watch", websocket=True)
@concurrency.websocket
async def watch_async(ws: AsyncWebSocket) -> None:
    """Remember how it ends, in a group of tasks."""
    await ws.send("watching")

    async def listen() -> None:
        try:
            await ws.receive()
        except ConnectionClosed as error:
            ended.append(f"{error.reason} {error.message}")
            raise

    async with asyncio.TaskGroup() as group:
        group.create_task(listen())
        group.create_task(asyncio.Event().wait())


@app.get("/sync/echo")
@app.get("/async/echo")
def page() -> ResponseReturnValue:
    """A page at the path of a WebSocket."""
    return "a page"


asgi = concurrency.asgi_app(app)
