"""How a WebSocket on the lent socket of a WSGI server ends, from either side."""

from __future__ import annotations

import asyncio
import threading

import pytest
from flask import Flask, request

from event_loops import GIVE_UP
from flask_concurrency import (
    AsyncWebSocket,
    Concurrency,
    ConnectionClosed,
    WebSocket,
)
from flask_concurrency.flask_app.streaming import websocket_on_wsgi
from websocket_echo import echo_at_both
from wsgi_socket import HANDSHAKE, closing, opened, served

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@BOTH
def test_the_end_of_the_server_ends_it(kind: str, app: Flask, concurrency: Concurrency) -> None:
    """A handler that waits is woken, and its client gets the code; a later one as well."""
    echo_at_both(app, concurrency)
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
    """A handler that never receives notices it when it sends."""

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
def test_a_client_that_is_cut_off_ends_its_handler(
    kind: str, app: Flask, concurrency: Concurrency
) -> None:
    """With 1006, as there was no close frame; the request is torn down once, with no error."""
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
