"""Thousands of requests that end in every way at random leave nothing behind.

In CI 3,000 requests, a few seconds; ``FLASK_CONCURRENCY_STRESS=100000`` makes as many as that.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from contextvars import Context
from typing import Any

import pytest
from flask import Flask, Response, g, request, request_started
from flask.typing import ResponseReturnValue

from asgi_exchange import Exchange
from event_loops import until_idle
from flask_concurrency import Concurrency, InFlight
from flask_concurrency.asgi import disconnect_watch
from flask_concurrency.asgi.interface import AsgiApplication
from flask_concurrency.engine.snapshot import look
from flask_concurrency.runtime import greenlet_bridge

REQUESTS = int(os.environ.get("FLASK_CONCURRENCY_STRESS", "3000"))
AT_ONCE = 200
PATHS = ["/async", "/sync", "/stream", "/async-stream", "/broken", "/narrow", "/echo", "/stubborn"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(max(120, REQUESTS // 50))]


class Oops(Exception):
    """What broken views raise."""


@pytest.fixture
def counts() -> Counter[str]:
    """How often a request began, and was torn down."""
    return Counter()


@pytest.fixture
def app(counts: Counter[str]) -> Iterator[Flask]:
    """An app with a view for each way to end."""
    app = Flask("stressed")
    app.testing = True  # so that errors get out of the app
    concurrency = Concurrency(app, app_limits=InFlight(10 * AT_ONCE))

    def begin(sender: Flask) -> None:
        counts["begun"] += 1

    request_started.connect(begin, app, weak=False)

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        counts["torn down"] += 1
        assert not g.get("ended")
        g.ended = True

    @app.get("/async")
    async def on_loop() -> str:
        await asyncio.sleep(random.random() / 1000)
        return "ok"

    @app.get("/sync")
    def on_thread() -> str:
        return "ok"

    @app.get("/stream")
    def stream() -> ResponseReturnValue:
        return Response(str(number) for number in range(20))

    @app.get("/async-stream")
    async def async_stream() -> ResponseReturnValue:
        async def parts() -> AsyncIterator[str]:
            counts["streams"] += 1
            try:
                for number in range(20):
                    await asyncio.sleep(0)
                    yield str(number)
            finally:
                await asyncio.sleep(0)
                counts["streams"] -= 1

        return Response(parts())  # type: ignore[arg-type]

    @app.get("/broken")
    async def broken() -> str:
        await asyncio.sleep(0)
        raise Oops

    @app.get("/narrow")
    @concurrency.limit(InFlight(5, max_queue=10, max_wait=1.0))
    async def narrow() -> str:
        await asyncio.sleep(random.random() / 1000)
        return "ok"

    @app.post("/echo")
    async def echo() -> bytes:
        return request.get_data()

    @app.get("/stubborn")
    async def stubborn() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(random.random() / 1000)
        await asyncio.sleep(0)
        return "ok"

    yield app
    concurrency.threads.shutdown()
    assert concurrency.loop.shutdown()


async def one(asgi: AsgiApplication) -> None:
    """A request that ends in some way."""
    path = random.choice(PATHS)
    if path == "/echo":
        fields = [("content-length", "10")]
        exchange = Exchange(asgi, path, "POST", body=None, fields=fields)
        exchange.send(b"half.")
        if random.random() < 0.5:
            exchange.send(b"whole", more=False)
        else:
            exchange.leave()
    else:
        exchange = Exchange(asgi, path)
    how = random.random()
    if how < 0.3:
        for _ in range(random.randrange(6)):
            await asyncio.sleep(0)
        exchange.leave()
    elif how < 0.4:
        for _ in range(random.randrange(6)):
            await asyncio.sleep(0)
        exchange.task.cancel()
    with suppress(Oops, asyncio.CancelledError):
        await exchange.end()


async def many(asgi: AsgiApplication, requests: int) -> None:
    """So many requests, some at once."""
    left = iter(range(requests))

    async def client() -> None:
        for _ in left:
            await one(asgi)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    await until_idle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def live(kind: type) -> int:
    """Objects of a kind that nothing collects."""
    gc.collect()
    return sum(isinstance(thing, kind) for thing in gc.get_objects())


def test_requests_that_end_in_every_way_leave_nothing(
    app: Flask, counts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No permit, slot in a queue, task, stack, context or thread; each is torn down once."""
    monkeypatch.setattr(disconnect_watch, "LOOK_AFTER", 0.0)
    stacks: weakref.WeakSet[Any] = weakref.WeakSet()

    class Counted(greenlet_bridge.Suspendable):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            stacks.add(self)

    monkeypatch.setattr(greenlet_bridge, "Suspendable", Counted)
    monkeypatch.setattr(
        greenlet_bridge, "idle", greenlet_bridge.IdleStacks()
    )  # none is left uncounted
    concurrency: Concurrency = app.extensions["concurrency"].owner
    asgi = concurrency.asgi_app(app)
    asyncio.run(many(asgi, AT_ONCE))  # what is made once is there now
    contexts, threads = live(Context), threading.active_count()
    asyncio.run(many(asgi, REQUESTS))
    assert concurrency.threads.snapshot().busy == 0
    assert counts["begun"] == counts["torn down"] > REQUESTS / 2
    assert counts["streams"] == 0
    gc.collect()
    assert not [stack for stack in stacks if stack.function is not None]
    state = app.extensions["concurrency"]
    assert len(state.rooms) == 0
    seen = look(state.limiters(app), state.store, key=None)
    assert seen
    assert {(limit.used, limit.waiting) for limit in seen} == {(0, 0)}
    assert live(Context) <= contexts + 20
    assert threading.active_count() <= threads + concurrency.threads.max_workers
