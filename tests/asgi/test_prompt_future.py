"""A task goes on in the very callback that brings what it awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from event_loops import until_idle
from flask_concurrency.asgi.prompt_future import PromptFuture

Run = Callable[[Coroutine[Any, Any, Any]], Any]

whose: ContextVar[str] = ContextVar("whose", default="nobody's")


def made() -> PromptFuture[str]:
    return PromptFuture(asyncio.get_running_loop())


def test_the_task_goes_on_before_what_was_ready_after_it(run: Run) -> None:
    """With a future of asyncio it would come after that."""

    async def story() -> list[str]:
        seen: list[str] = []
        awaited = made()

        async def wait() -> None:
            seen.append(await awaited)

        task = asyncio.create_task(wait())
        await until_idle()
        loop = asyncio.get_running_loop()
        loop.call_soon(awaited.set_result, "given")
        loop.call_soon(seen.append, "after")
        await task
        return seen

    assert run(story()) == ["given", "after"]


def test_it_goes_on_in_its_own_context_as_its_own_task(run: Run) -> None:
    """Whoever brings the result."""

    async def story() -> tuple[str, bool]:
        awaited = made()

        async def wait() -> tuple[str, bool]:
            whose.set("the task's")
            await awaited
            return whose.get(), asyncio.current_task() is task

        task = asyncio.create_task(wait())
        await until_idle()
        asyncio.get_running_loop().call_soon(awaited.set_result, "given")
        return await task

    assert run(story()) == ("the task's", True)


def test_what_is_there_already_is_given_at_once(run: Run) -> None:
    """Without a turn of the loop."""

    async def story() -> str:
        awaited = made()
        awaited.set_result("given")
        assert awaited.done()
        return await awaited

    assert run(story()) == "given"


@pytest.mark.parametrize("waits", [True, False])
def test_an_error_is_raised_in_the_task(waits: bool, run: Run) -> None:
    """Once: it is not kept."""

    async def story() -> None:
        awaited, error = made(), OSError("gone")

        async def wait() -> None:
            with pytest.raises(OSError, match="gone") as raised:
                await awaited
            assert raised.value is error

        task = asyncio.create_task(wait())
        if waits:
            await until_idle()
            asyncio.get_running_loop().call_soon(awaited.set_exception, error)
        else:
            awaited.set_exception(error)
        await task
        assert awaited.done()
        assert awaited.result() is None

    run(story())


def test_a_task_that_is_cancelled_ends_its_wait(run: Run) -> None:
    """With the message of its cancellation; a second one finds nothing left to do."""

    async def story() -> tuple[Any, ...]:
        awaited = made()

        async def wait() -> None:
            await awaited

        task = asyncio.create_task(wait())
        await until_idle()
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        assert task.cancelled()
        assert awaited.done()
        assert not awaited.cancel()
        return raised.value.args

    assert run(story()) == ("enough",)


def test_asyncio_takes_it_for_a_future(run: Run) -> None:
    """It may be cancelled by itself, too."""

    async def story() -> None:
        awaited = made()
        assert asyncio.isfuture(awaited)
        assert awaited.get_loop() is asyncio.get_running_loop()
        asyncio.get_running_loop().call_soon(awaited.cancel)
        with pytest.raises(asyncio.CancelledError):
            await awaited

    run(story())
