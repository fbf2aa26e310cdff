"""Run each test on an event loop of its own, with nothing left behind."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from flask import Flask, request

from event_loops import until_idle
from flask_concurrency import Concurrency
from flask_concurrency.asgi import disconnect_watch
from flask_concurrency.asgi.interface import AsgiApplication
from flask_concurrency.runtime import greenlet_bridge
from flask_concurrency.runtime.greenlet_bridge import Suspendable

GIVE_UP = 30.0
"""Seconds; a wait that takes so long never ends."""

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(autouse=True)
def _watched_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice at once that a client leaves: no test waits for time to pass."""
    monkeypatch.setattr(disconnect_watch, "LOOK_AFTER", 0.0)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a coroutine as a server's loop would, and see that no task or stack is left on it."""

    stacks: weakref.WeakSet[Suspendable] = weakref.WeakSet()

    class Counted(Suspendable):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            stacks.add(self)

    monkeypatch.setattr(greenlet_bridge, "Suspendable", Counted)
    monkeypatch.setattr(
        greenlet_bridge, "idle", greenlet_bridge.IdleStacks()
    )  # none is left uncounted

    async def watched(story: Coroutine[Any, Any, Any]) -> Any:
        result = await asyncio.wait_for(story, GIVE_UP)
        await until_idle()  # what was cancelled at the end comes to its end
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"Tasks were left: {left}"
        return result

    yield lambda story: asyncio.run(watched(story))
    assert not [stack for stack in stacks if stack.function is not None]


@pytest.fixture
def app() -> Flask:
    """An app whose errors reach the test."""
    app = Flask("asgi")
    app.testing = True
    app.secret_key = "not a secret"
    return app


@pytest.fixture
def concurrency(app: Flask) -> Iterator[Concurrency]:
    """The extension of that app; its threads must go home."""
    concurrency = Concurrency(app)
    yield concurrency
    concurrency.threads.shutdown()
    app.extensions["concurrency"].executors.bodies.shutdown()
    assert concurrency.loop.shutdown()


@pytest.fixture
def asgi(app: Flask, concurrency: Concurrency) -> AsgiApplication:
    """The app's ASGI application."""
    return concurrency.asgi_app(app)


@pytest.fixture
def echo_bodies() -> Callable[[Flask], None]:
    """Add two views to an app that answer with what was posted, each from another place."""

    def add(app: Flask) -> None:
        @app.post("/async")
        async def on_loop() -> bytes:
            return request.get_data()

        @app.post("/sync")
        def on_thread() -> bytes:
            return request.get_data()

    return add


@pytest.fixture
def ended(app: Flask) -> list[BaseException | None]:
    """With what each request was torn down."""
    endings: list[BaseException | None] = []
    app.teardown_request(endings.append)
    return endings
