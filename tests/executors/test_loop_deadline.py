"""A coroutine ends at its caller's deadline, on our loop and on a loop of the caller's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest

from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.loop import call as loop_call
from flask_concurrency.executors.loop import deadline as loop_deadline
from flask_concurrency.runtime.deadline import Deadline, within
from flask_concurrency.runtime.greenlet_bridge import run_suspendable
from flask_concurrency.vocabulary.errors import DeadlineExceeded

SOON = 0.1
"""Seconds of a deadline that is to pass, though not before the coroutine has begun."""

OnLoop = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=["own thread", "suspended"])
def on_loop(request: pytest.FixtureRequest, loop: LoopThread) -> OnLoop:
    """Call a function that uses ``loop.run``: from another thread, and from a loop itself."""

    def suspended(function: Callable[[], Any]) -> Any:
        async def drive() -> Any:
            return await run_suspendable(function, copy_context())

        return asyncio.run(drive())

    return suspended if request.param == "suspended" else lambda function: function()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call have the same short time, however long the test takes to make it."""
    monkeypatch.setattr(loop_deadline, "CLEAN_UP", SOON)
    monkeypatch.setattr(loop_call, "time_left", lambda: SOON)


@pytest.mark.usefixtures("soon")
def test_a_coroutine_is_cancelled_at_the_deadline(
    loop: LoopThread, on_loop: OnLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ``finally`` has run when the caller gets the error."""
    monkeypatch.setattr(loop_deadline, "CLEAN_UP", 30.0)
    done = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            done.append("finally")

    def call() -> None:
        with pytest.raises(DeadlineExceeded, match=r"work.*remaining\(\)"):
            loop.run(work())
        assert done == ["finally"]

    on_loop(call)


@pytest.mark.usefixtures("soon")
def test_one_that_swallows_its_cancellation_is_cancelled_again(
    loop: LoopThread, on_loop: OnLoop
) -> None:
    """It cannot outlive its deadline by swallowing one."""
    swallowed = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.append("once")
        await asyncio.Event().wait()

    def call() -> None:
        with pytest.raises(DeadlineExceeded):
            loop.run(stubborn())
        assert swallowed == ["once"]

    on_loop(call)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("ending", ["value", "error"])
def test_what_it_ends_with_then_is_too_late(ending: str, loop: LoopThread, on_loop: OnLoop) -> None:
    """A result or an error after the deadline reaches no caller."""

    async def late() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if ending == "error":
                raise ValueError("late") from None
        return "late"

    def call() -> None:
        with pytest.raises(DeadlineExceeded):
            loop.run(late())

    on_loop(call)


def test_one_that_is_in_time_notices_nothing(loop: LoopThread, on_loop: OnLoop) -> None:
    """Neither its result nor its error nor the task it runs in."""

    async def work() -> str:
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return f"in time {task.cancelling()}"

    async def fail() -> None:
        raise ValueError("its own")

    def call() -> None:
        with within(3600.0):
            assert loop.run(work()) == "in time 0"
            with pytest.raises(ValueError, match="its own"):
                loop.run(fail())

    on_loop(call)


def test_the_time_is_that_of_the_callers_deadline() -> None:
    """And there is none without one, or after it."""
    assert loop_deadline.time_left() is None
    with within(3600.0) as deadline:
        assert 3000.0 < (loop_deadline.time_left() or 0.0) <= 3600.0
        deadline.expire()
        assert loop_deadline.time_left() is None


def test_what_begins_after_the_deadline_is_let_run(loop: LoopThread, on_loop: OnLoop) -> None:
    """Error handlers and teardowns deal with it, and must not fall victim to it."""

    async def teardown() -> str:
        await asyncio.sleep(0)
        return "torn down"

    def call() -> None:
        with Deadline() as deadline:
            deadline.expire()
            assert loop.run(teardown()) == "torn down"

    on_loop(call)


@pytest.mark.usefixtures("soon")
def test_the_task_can_go_on_after_a_deadline() -> None:
    """A task that was suspended is not cancelled for good."""
    loop = LoopThread()

    def call() -> None:
        with pytest.raises(DeadlineExceeded):
            loop.run(asyncio.sleep(3600.0, None))

    async def story() -> int:
        await run_suspendable(call, copy_context())
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(story()) == 0


@pytest.mark.usefixtures("soon")
def test_one_that_never_ends_is_left_and_named(
    loop: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller of a loop with a thread of its own does not wait for ever."""
    let_go = asyncio.Event()

    async def immortal() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(DeadlineExceeded):
        loop.run(immortal())
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "immortal" in caplog.text

    async def free() -> None:
        let_go.set()

    loop.run(free())
