"""How much a WebSocket on ASGI takes in, and how it is held up by a client that takes no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from flask import Flask

from asgi_socket import opened
from event_loops import until, until_idle
from flask_concurrency import (
    AsyncWebSocket,
    Concurrency,
    ConnectionClosed,
    WebSocket,
)
from flask_concurrency.asgi import websocket_connection
from flask_concurrency.asgi.interface import AsgiApplication
from flask_concurrency.asgi.websocket_connection import READ_AHEAD
from websocket_echo import echo

Run = Callable[[Coroutine[Any, Any, Any]], Any]


BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


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
