"""Requests on an event loop ask Redis without making the loop wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest

from event_loops import until, until_idle
from flask_concurrency.policies.policy import policy_for
from flask_concurrency.runtime.greenlet_bridge import run_suspendable
from flask_concurrency.stores.fallback import FallbackStore
from flask_concurrency.stores.redis import client
from flask_concurrency.stores.redis.redis_store import RedisStore
from flask_concurrency.stores.store import Check
from flask_concurrency.vocabulary.limits import InFlight, Rate

CHECKS = [
    Check("rate", policy_for(Rate("5/minute")), "somebody", 1),
    Check("places", policy_for(InFlight(2)), "somebody", 1),
]


async def drive(function: Callable[[], Any]) -> Any:
    """Call a function that may be suspended."""
    return await run_suspendable(function, copy_context())


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Hold calls to the server up: set once one is on its way, and to be set to let them go."""
    sent, go_on = threading.Event(), threading.Event()
    run = client.ScriptClient._run

    def late(self: client.ScriptClient, *given: Any) -> list[int]:
        sent.set()
        assert go_on.wait(30)
        return run(self, *given)

    monkeypatch.setattr(client.ScriptClient, "_run", late)
    return sent, go_on


def test_the_loop_goes_on_while_the_server_is_asked(
    redis_server: Any, held_up: tuple[threading.Event, threading.Event]
) -> None:
    """What the store answers is what it answers to a thread."""
    sent, go_on = held_up
    store = RedisStore(redis_server.url, namespace="loop-goes-on")

    async def story() -> list[bool]:
        asking = asyncio.create_task(drive(lambda: store.take(CHECKS)))
        await until(sent.is_set)
        go_on.set()
        return [outcome.admitted for outcome in await asking]

    assert asyncio.run(story()) == [True, True]
    store.give_back(CHECKS[1:])
    store.close()


def test_a_cancellation_waits_for_the_answer(
    redis_server: Any, held_up: tuple[threading.Event, threading.Event]
) -> None:
    """Else a permit could be taken that no request holds and none would release."""
    sent, go_on = held_up
    store = RedisStore(redis_server.url, namespace="cancelled")
    taken = []

    def request() -> None:
        taken.append(store.take(CHECKS[1:])[0].admitted)
        try:
            store.take(CHECKS[:1])
        finally:
            store.give_back(CHECKS[1:])

    async def story() -> None:
        asking = asyncio.create_task(drive(request))
        await until(sent.is_set)
        asking.cancel()
        await until_idle()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(story())
    assert taken == [True]
    assert [store.take(CHECKS[1:])[0].admitted for _ in range(3)] == [True, True, False]
    store.close()


def test_an_outage_is_met_as_in_a_thread(start_redis: Any) -> None:
    """The circuit opens, and the process counts for itself."""
    server = start_redis()
    redis = RedisStore(server.url, namespace="outage")
    store = FallbackStore(redis, redis.probe)
    server.kill()

    async def story() -> list[bool]:
        return [outcome.admitted for outcome in await drive(lambda: store.take(CHECKS))]

    assert asyncio.run(story()) == [True, True]
    assert store.snapshot().outages == 1
    store.close()
