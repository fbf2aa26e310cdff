"""Register WebSocket handlers that send back what comes in. Knows no server."""

from __future__ import annotations

from typing import Any

from flask import Flask

from flask_concurrency import (
    AsyncWebSocket,
    Concurrency,
    WebSocket,
)


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


def echo_at_both(app: Flask, concurrency: Concurrency, **said: Any) -> None:
    """Register one of each kind, at ``/sync`` and ``/async``."""
    for kind in ("sync", "async"):
        echo(app, concurrency, kind, f"/{kind}", **said)
