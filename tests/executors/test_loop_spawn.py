"""Coroutines without a waiting caller: they live on, and their failures are never lost."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import logging

import pytest

from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.vocabulary.errors import LoopBlocked

COLOUR: contextvars.ContextVar[str] = contextvars.ContextVar("COLOUR", default="none")


async def make_event() -> asyncio.Event:
    return asyncio.Event()


async def read_colour() -> str:
    return COLOUR.get()


async def fail() -> None:
    raise LookupError("nobody waits")


def test_a_spawned_coroutine_outlives_the_call_that_spawned_it(loop: LoopThread) -> None:
    """The call returns while the task still waits; a later call lets it end."""
    event = loop.run(make_event())

    async def wait() -> str:
        await event.wait()
        return "done"

    async def view() -> concurrent.futures.Future[str]:
        return loop.spawn(wait())

    async def let_go() -> None:
        event.set()

    task = loop.run(view())
    assert not task.done()
    loop.run(let_go())
    assert task.result(timeout=5) == "done"


def test_a_spawned_task_is_kept_although_nobody_refers_to_it(loop: LoopThread) -> None:
    """asyncio holds its tasks weakly; the loop holds spawned ones."""
    ended = []

    async def wait(future: asyncio.Future[None]) -> None:
        try:
            await future
        finally:
            ended.append(future.done())

    async def spawn_on_a_future_of_its_own() -> None:
        loop.spawn(wait(asyncio.get_running_loop().create_future()))

    loop.run(spawn_on_a_future_of_its_own())
    loop.run(read_colour())
    gc.collect()
    assert ended == []
    assert loop.snapshot().spawned == 1


def test_a_failure_is_logged_and_kept_in_the_future(
    loop: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the task's name and the traceback; the future has the exception."""
    task = loop.spawn(fail(), name="send the mail")
    assert isinstance(task.exception(timeout=5), LookupError)
    [record] = [r for r in caplog.records if r.name == "flask_concurrency.loop"]
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "Background task 'send the mail' failed"
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError
    assert loop.snapshot().failed == 1


def test_an_orphaned_tasks_failure_is_logged(
    loop: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    """A task that a view made itself and forgot is logged, too."""

    async def forget() -> None:
        task = asyncio.create_task(fail())
        await asyncio.wait([task])

    loop.run(forget())
    loop.run(read_colour())
    gc.collect()
    [record] = [r for r in caplog.records if r.name == "flask_concurrency.loop"]
    assert "never retrieved" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError


def test_pitfall_12_an_orphaned_sys_exit_does_not_end_the_loop(
    loop: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio would end the loop of all requests; it runs on, and says so."""

    orphans: list[asyncio.Task[None]] = []

    async def leave() -> None:
        raise SystemExit(3)

    async def forget() -> None:
        orphans.append(asyncio.create_task(leave()))
        await asyncio.wait(orphans)

    loop.run(forget())
    assert loop.run(read_colour()) == "none"
    assert "runs on after SystemExit(3)" in caplog.text
    # Looked at, because asyncio would else complain in the middle of another test; and where that
    # parses a file, Python 3.11 fails with "AST constructor recursion depth mismatch".
    assert isinstance(orphans[0].exception(), SystemExit)


def test_cancel_reaches_the_running_task(loop: LoopThread) -> None:
    """The future is cancelled once the coroutine's ``finally`` has run."""
    event = loop.run(make_event())
    order: list[str] = []

    async def wait() -> None:
        order.append("began")
        try:
            await event.wait()
        finally:
            await asyncio.sleep(0)
            order.append("cleaned up")

    task = loop.spawn(wait())
    loop.run(read_colour())  # the task was handed over before, so it has begun
    assert task.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        task.result(timeout=5)
    assert task.cancelled()
    assert not task.cancel()
    assert order == ["began", "cleaned up"]


def test_a_spawned_task_can_be_awaited_on_the_loop(loop: LoopThread) -> None:
    """Its future is an ordinary one for ``asyncio.wrap_future``."""

    async def view() -> str:
        return await asyncio.wrap_future(loop.spawn(read_colour()))

    assert loop.run(view()) == "none"


def test_pitfall_21_waiting_for_a_spawned_task_on_the_loop_raises(loop: LoopThread) -> None:
    """``result()`` and ``exception()`` would block the loop that has to run the task."""

    async def view() -> None:
        task = loop.spawn(read_colour())
        with pytest.raises(LoopBlocked, match=r"asyncio\.wrap_future"):
            task.exception()
        task.result()

    with pytest.raises(LoopBlocked, match=r"asyncio\.wrap_future"):
        loop.run(view())


def test_context_is_copied_or_chosen(loop: LoopThread) -> None:
    """By default the caller's variables come along; an empty context leaves them behind."""

    def spawn(context: contextvars.Context | None) -> str:
        COLOUR.set("red")
        return loop.spawn(read_colour(), context=context).result(timeout=5)

    assert contextvars.copy_context().run(spawn, None) == "red"
    assert contextvars.copy_context().run(spawn, contextvars.Context()) == "none"
