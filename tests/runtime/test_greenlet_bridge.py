"""Plain code that waits without blocking the loop it shares a thread with."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import Any

import pytest
from greenlet import getcurrent

from event_loops import until_idle
from flask_concurrency.runtime.greenlet_bridge import (
    IDLE_STACKS,
    Suspendable,
    can_suspend,
    run_suspendable,
    suspend,
)
from flask_concurrency.runtime.wakeup import WakeUp

COLOUR: ContextVar[str] = ContextVar("COLOUR", default="none")
THING: ContextVar[object] = ContextVar("THING")


def driven(function: Callable[[], Any]) -> Any:
    """Call a function that may be suspended."""

    return asyncio.run(_drive(function))


async def echo(value: str) -> str:
    await asyncio.sleep(0)
    return value


def test_plain_code_waits_for_awaitables() -> None:
    """Coroutines, futures, and anything else with ``__await__``."""

    class Custom:
        def __await__(self) -> Generator[Any, Any, str]:
            return echo("custom").__await__()

    def function() -> list[str]:
        assert can_suspend()
        return [
            suspend(echo("coroutine")),
            suspend(asyncio.ensure_future(echo("future"))),
            suspend(Custom()),
        ]

    assert driven(function) == ["coroutine", "future", "custom"]


def test_others_run_meanwhile() -> None:
    """Suspended code holds up neither the loop nor other suspended code."""
    order = []

    def function(name: str) -> None:
        for step in range(3):
            order.append(f"{name}{step}")
            suspend(asyncio.sleep(0))

    async def story() -> None:
        async def drive(name: str) -> None:
            await run_suspendable(lambda: function(name), copy_context())

        await asyncio.gather(drive("a"), drive("b"))

    asyncio.run(story())
    assert order == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_errors_go_both_ways() -> None:
    """What an awaitable raises arrives in the code, and what that raises in the driver."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("inner")

    def function() -> None:
        with pytest.raises(KeyError, match="inner"):
            suspend(fail())
        raise ValueError("outer")

    with pytest.raises(ValueError, match="outer"):
        driven(function)


def test_a_cancellation_arrives_where_the_code_is_suspended() -> None:
    """Its ``finally`` may wait as well."""
    done = []

    def function() -> None:
        try:
            suspend(asyncio.Event().wait())
        finally:
            done.append(suspend(echo("cleaned")))

    async def story() -> None:
        async def drive() -> None:
            await run_suspendable(function, copy_context())

        task = asyncio.create_task(drive())
        await until_idle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
    assert done == ["cleaned"]


def test_it_runs_in_the_context_it_was_given() -> None:
    """Its coroutines see the same; its driver sees nothing of it."""
    context = Context()
    COLOUR.set("driver's")

    async def paint() -> str:
        seen = COLOUR.get()
        await asyncio.sleep(0)
        COLOUR.set("coroutine's")
        return seen

    def function() -> list[str]:
        COLOUR.set("code's")
        return [suspend(paint()), COLOUR.get()]

    async def story() -> list[str]:
        return [*await run_suspendable(function, context), COLOUR.get()]

    assert asyncio.run(story()) == ["code's", "coroutine's", "driver's"]
    assert context[COLOUR] == "coroutine's"


def test_a_stack_is_used_again_and_keeps_nothing() -> None:
    """Neither the context of the function before, nor what that returned or raised."""

    class Thing:
        """Something that can be forgotten."""

    stacks = []
    kept: list[weakref.ref[Thing]] = []

    def function(fail: bool) -> Thing:
        stacks.append(getcurrent())
        thing = Thing()
        kept.append(weakref.ref(thing))
        THING.set(thing)
        suspend(echo("suspended"))
        if fail:
            raise ValueError("outer")
        return thing

    async def story() -> None:
        await run_suspendable(lambda: function(fail=False), Context())
        with pytest.raises(ValueError, match="outer"):
            await run_suspendable(lambda: function(fail=True), Context())
        await run_suspendable(lambda: function(fail=False), Context())

    asyncio.run(story())
    assert len(stacks) == 3
    assert len(set(map(id, stacks))) == 1
    assert [reference() for reference in kept] == [None] * 3


def test_stacks_beyond_those_that_are_kept_end() -> None:
    """Each with the context it ran in."""
    stacks: list[Suspendable] = []

    def wait() -> None:
        stack = getcurrent()
        assert isinstance(stack, Suspendable)
        stacks.append(stack)
        suspend(asyncio.sleep(0))

    async def crowd() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(IDLE_STACKS + 10):
                group.create_task(_drive(wait))

    asyncio.run(crowd())
    assert len(stacks) == IDLE_STACKS + 10
    assert sum(stack.dead for stack in stacks) == 10
    assert all(stack.gr_context is None for stack in stacks if not stack.dead)


async def _drive(function: Callable[[], Any]) -> Any:
    return await run_suspendable(function, copy_context())


def test_a_thread_may_do_a_step_in_the_context_meanwhile() -> None:
    """Suspended code has not entered its context."""
    context = Context()

    def function() -> str:
        suspend(asyncio.to_thread(lambda: context.run(COLOUR.set, "thread's")))
        return COLOUR.get()

    async def story() -> str:
        return await run_suspendable(function, context)

    assert asyncio.run(story()) == "thread's"


def test_elsewhere_it_is_an_error_that_names_the_remedy() -> None:
    """Nothing waits for ever, and no coroutine is forgotten."""
    assert not can_suspend()
    with pytest.raises(RuntimeError, match=r"can_suspend\(\)"):
        suspend(echo("never"))

    async def story() -> bool:
        return can_suspend()

    assert asyncio.run(story()) is False


@pytest.mark.parametrize("woken_by", ["loop", "thread", "before"])
def test_a_wake_up_reaches_who_is_suspended(woken_by: str) -> None:
    """From the loop or from a thread, and also if it was set before the wait began."""
    wake_up = WakeUp()

    def function() -> str:
        wake_up.wait(30.0)
        return "awake"

    async def story() -> str:
        if woken_by == "before":
            wake_up.set()
        drive: Coroutine[Any, Any, str] = _drive(function)
        task = asyncio.create_task(drive)
        await until_idle()
        if woken_by == "loop":
            wake_up.set()
        elif woken_by == "thread":
            threading.Thread(target=wake_up.set).start()
        return await task

    async def _drive(function: Callable[[], str]) -> str:
        return await run_suspendable(function, copy_context())

    assert asyncio.run(asyncio.wait_for(story(), 20.0)) == "awake"


def test_a_wake_up_gives_up_after_its_time() -> None:
    """As a thread that waits does."""
    wake_up = WakeUp()
    driven(lambda: wake_up.wait(0.001))
    wake_up.wait(0.0)


def test_a_wake_up_serves_once() -> None:
    """The next wait is for the next one."""
    wake_up = WakeUp()
    wake_up.set()
    wake_up.wait(30.0)
    wake_up.wait(0.0)

    def function() -> None:
        wake_up.set()
        wake_up.wait(30.0)
        wake_up.wait(0.001)

    driven(function)
