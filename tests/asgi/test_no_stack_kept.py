"""An asynchronous view or handler that awaits takes no stack; plain code that waits keeps one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any

import pytest
from flask import Flask, g, request

from asgi_exchange import Exchange, ask
from asgi_socket import opened
from event_loops import until_idle
from flask_concurrency import AsyncWebSocket, Concurrency
from flask_concurrency.asgi.interface import AsgiApplication
from flask_concurrency.runtime import greenlet_bridge

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def in_use(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Counts the stacks that are set aside with something on them."""
    made: list[greenlet_bridge.Suspendable] = []
    known = greenlet_bridge.Suspendable

    class Noted(known):  # type: ignore[misc, valid-type]
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    def count() -> int:
        return sum(stack.function is not None for stack in made)

    monkeypatch.setattr(greenlet_bridge, "Suspendable", Noted)
    monkeypatch.setattr(greenlet_bridge, "idle", greenlet_bridge.IdleStacks())
    return count


def test_a_view_that_awaits_keeps_no_stack(
    app: Flask, asgi: AsgiApplication, run: Run, in_use: Callable[[], int]
) -> None:
    """However many wait, and each goes on with its own request."""
    go_on = asyncio.Event()

    @app.get("/<int:number>")
    async def view(number: int) -> str:
        g.number = number
        await go_on.wait()
        return f"{g.number} {request.path}"

    async def story() -> None:
        exchanges = [Exchange(asgi, f"/{number}") for number in range(20)]
        await until_idle()
        assert in_use() == 0
        go_on.set()
        for number, exchange in enumerate(exchanges):
            assert (await exchange.end()).text == f"{number} /{number}"

    run(story())


def test_plain_code_of_an_async_view_may_wait_after_an_await(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """It is suspended there, not the loop blocked, as before the first ``await``."""

    @app.get("/")
    async def view() -> str:
        first = concurrency.threads.submit(str, 1).result()
        await asyncio.sleep(0)
        return first + concurrency.threads.submit(str, 2).result()

    assert run(ask(asgi, "/")).text == "12"


@pytest.mark.parametrize("kind", ["dispatch_request", "full_dispatch_request", "ensure_sync"])
def test_an_app_that_dispatches_in_its_own_way_does(
    kind: str, app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """Whether its class says so, or something was put in its place."""
    calls: list[str] = []
    stock = getattr(app, kind)

    @app.get("/")
    async def view() -> str:
        await asyncio.sleep(0)
        return "Hello"

    def own(*given: Any) -> Any:
        calls.append(kind)
        return stock(*given)

    setattr(app, kind, own)
    assert run(ask(asgi, "/")).text == "Hello"
    assert kind in calls


@pytest.mark.parametrize("by_wsgi", [False, True], ids=["direct", "by WSGI"])
@pytest.mark.parametrize("decorated", [False, True], ids=["bare", "decorated"])
def test_an_idle_websocket_keeps_no_stack(
    decorated: bool,
    by_wsgi: bool,
    app: Flask,
    concurrency: Concurrency,
    asgi: AsgiApplication,
    run: Run,
    in_use: Callable[[], int],
    ended: list[BaseException | None],
) -> None:
    """Unless middleware or a decorator of another stands around it, which end after it."""
    told: list[str] = []

    @concurrency.websocket
    async def idle(ws: AsyncWebSocket) -> None:
        await ws.send(request.path)
        async for message in ws:
            await ws.send(message)
        told.append("handler")

    @wraps(idle)
    def around() -> Any:
        try:
            return idle()
        finally:
            told.append("decorator")

    @app.after_request
    def hook(response: Any) -> Any:
        told.append(f"hook {response.status_code}")
        return response

    app.add_url_rule("/idle", view_func=around if decorated else idle, websocket=True)
    if by_wsgi:
        app.wsgi_app = partial(app.wsgi_app)  # type: ignore[method-assign]

    async def story() -> None:
        async with opened(asgi, "/idle") as socket:
            assert await socket.hear() == "/idle"
            await until_idle()
            assert in_use() == int(decorated or by_wsgi)
            socket.say("again")
            assert await socket.hear() == "again"
            assert told == []

    run(story())
    assert told == ["handler", *["decorator"] * decorated, "hook 101"]
    assert ended == [None]
