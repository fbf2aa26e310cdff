"""Signals of requests that are answered without WSGI."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from flask import Flask

from asgi_exchange import Exchange
from flask_concurrency import Concurrency, request_refused

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.mark.parametrize("path", ["/loop", "/thread"])
def test_each_refusal_is_told(run: Run, path: str) -> None:
    """Of an async view and of a plain one, with its route."""
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app)

    @app.get("/loop")
    @concurrency.limit("1/minute")
    async def on_loop() -> str:
        return "loop"

    @app.get("/thread")
    @concurrency.limit("1/minute")
    def on_thread() -> str:
        return "thread"

    asgi = concurrency.asgi_app(app)
    told: list[tuple[int, str]] = []

    def hear(sender: Flask, *, status: int, route: str, **_: Any) -> None:
        told.append((status, route))

    async def story() -> list[int]:
        statuses = []
        for _ in range(3):
            exchange = Exchange(asgi, path)
            await exchange.task
            statuses.append(exchange.answer.status)
        return statuses

    with request_refused.connected_to(hear, app):
        assert run(story()) == [200, 429, 429]
    with app.app_context():
        concurrency.threads.shutdown()
    assert told == [(429, path)] * 2
