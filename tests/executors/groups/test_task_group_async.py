"""The same on an event loop, which is never blocked: ``async with``, and tasks that are awaited."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from event_loops import until, until_idle
from flask_concurrency.runtime.deadline import remaining
from flask_concurrency.runtime.greenlet_bridge import run_suspendable
from flask_concurrency.vocabulary.errors import DeadlineExceeded, ExecutorShutdown, LoopBlocked
from group_tasks import double, fail

SOON = 30.0
seen: ContextVar[str] = ContextVar("seen", default="nothing")


async def for_ever() -> None:
    await asyncio.Event().wait()


def on_loop(main: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    """Run a test on a loop of its own."""

    def test(bench: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(SOON):
                await main(bench)

        asyncio.run(bounded())

    test.__doc__ = main.__doc__
    return test


@on_loop
async def test_the_end_of_the_block_is_awaited(bench: Any) -> None:
    """What the block waits for may be done by the very loop it waits on."""
    async with bench.group() as group:
        group.executor("hand").submit(double, 1)
        asyncio.get_running_loop().call_soon(bench.hand.end, 0, "by the loop")

    assert group.results() == ["by the loop"]


@on_loop
async def test_tasks_of_every_kind_are_awaited(bench: Any) -> None:
    """One after the other, or together."""

    async def where() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async with bench.group() as group:
        number = group.threads.submit(double, 1)
        loop = group.loop.submit(where)
        assert await number == 2
        together: Any = await asyncio.gather(number, loop)
        assert together == [2, asyncio.get_running_loop()]
        with pytest.raises(ValueError, match="no"):
            async with bench.group() as inner:
                await inner.threads.submit(fail)


@on_loop
async def test_a_coroutine_sees_the_context_of_its_caller(bench: Any) -> None:
    """The group's deadline included, and what it sets is its own."""

    async def look() -> tuple[str, float | None]:
        before = seen.get()
        seen.set("changed")
        return before, remaining(bench.clock)

    seen.set("something")
    async with bench.group(timeout=3) as group:
        looked = group.loop.submit(look)

    assert looked.result() == ("something", 3)
    assert seen.get() == "something"
    assert remaining() is None


@on_loop
async def test_the_first_error_cancels_coroutines_and_lets_them_clean_up(bench: Any) -> None:
    """Before the block ends."""
    cleaned_up = asyncio.Event()

    async def carefully() -> None:
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0)
            cleaned_up.set()

    async with bench.failing_on_loop(ValueError, "no") as (group, caught):
        group.loop.submit(carefully)
        await until_idle()  # it begins
        group.threads.submit(fail)

    assert cleaned_up.is_set()
    assert any("#1 carefully" in note for note in caught.value.__notes__)


@on_loop
async def test_a_body_that_awaits_a_cancelled_sibling_raises_the_first_error(bench: Any) -> None:
    """The cancellation is the sibling's, not the body's."""
    async with bench.failing_on_loop(ValueError, "no") as (group, _):
        queued = group.executor("hand").submit(double, 1)
        group.threads.submit(fail)
        await queued


@on_loop
async def test_a_body_that_awaits_a_loser_goes_on_after_the_block(bench: Any) -> None:
    """``any`` has its result."""
    async with bench.group(policy="any") as group:
        loser = group.loop.submit(for_ever)
        group.threads.submit(double, 21)
        await loser
        pytest.fail("the block goes on")

    assert group.result() == 42


@pytest.mark.parametrize("where", ["in the body", "at the end of the block"])
def test_whoever_is_cancelled_cancels_the_tasks(bench: Any, where: str) -> None:
    """And goes on being cancelled once they have ended."""

    async def main() -> None:
        async def work() -> None:
            async with bench.group() as group:
                group.executor("hand").submit(double, 1)
                group.loop.submit(for_ever)
                began.set()
                if where == "in the body":
                    await for_ever()

        began = asyncio.Event()
        worker = asyncio.create_task(work())
        await began.wait()
        await until_idle()
        worker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await worker
        assert bench.hand.futures[0].cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@on_loop
async def test_a_timeout_around_the_block_is_a_timeout(bench: Any) -> None:
    """``asyncio.timeout`` cancels, and finds its own cancellation again."""
    group = bench.group()

    async def work() -> None:
        async with asyncio.timeout(0), group:
            group.loop.submit(for_ever)
            await for_ever()

    with pytest.raises(TimeoutError):
        await work()
    assert [task.cancelled() for task in group.tasks] == [True]


@on_loop
async def test_time_that_is_up_cancels_coroutines(bench: Any) -> None:
    """Even one that has not begun, which leaves no warning behind."""
    async with bench.failing_on_loop(DeadlineExceeded, "#1 for_ever", timeout=5) as (group, _):
        group.loop.submit(for_ever)
        bench.alarms.advance(5)


@on_loop
async def test_a_thread_may_submit_to_the_loop_of_its_group(bench: Any) -> None:
    """The coroutine runs where the block does."""

    async def where() -> int:
        return threading.get_ident()

    def from_a_thread() -> int:
        return int(group.loop.submit(where).result(SOON))

    async with bench.group() as group:
        first = group.threads.submit(from_a_thread)

    assert first.result() == threading.get_ident()


@on_loop
async def test_a_coroutine_may_be_cancelled_before_its_loop_knows_of_it(bench: Any) -> None:
    """It never begins, and leaves no warning behind."""
    async with bench.group(policy="settle") as group:
        thread = threading.Thread(target=group.loop.submit, args=(for_ever,))
        thread.start()
        thread.join()  # the loop stands still meanwhile
        assert group.tasks[0].cancel()
        assert not group.tasks[0].done()

    assert [result.how for result in group.results()] == ["cancelled"]


def test_a_loop_that_is_closed_runs_no_coroutine(bench: Any) -> None:
    """The program closed it in the middle of a block."""
    group = bench.group()
    asyncio.run(group.__aenter__())

    with pytest.raises(ExecutorShutdown, match="'for_ever' refused: the event loop"):
        group.loop.submit(for_ever)
    assert group.tasks == ()


@on_loop
async def test_waiting_for_a_task_on_a_loop_is_refused(bench: Any) -> None:
    """With what to write instead; the result of one that has ended can be had."""
    async with bench.group() as group:
        task = group.executor("hand").submit(double, 1)
        with pytest.raises(LoopBlocked, match="await task"):
            task.result()
        with pytest.raises(LoopBlocked, match="await task"):
            task.exception()
        bench.hand.end(0, 2)
        assert (task.result(), task.exception()) == (2, None)


@on_loop
async def test_a_coroutine_that_leaves_does_not_end_the_loop(bench: Any) -> None:
    """``sys.exit()`` is an error of its group like any other."""

    async def leave() -> None:
        sys.exit(3)

    with pytest.raises(SystemExit):
        async with bench.group() as group:
            group.loop.submit(leave)


def test_whoever_stops_awaiting_a_task_cancels_it(bench: Any) -> None:
    """As with tasks of asyncio."""

    async def main() -> None:
        async with bench.group(policy="settle") as group:
            task = group.executor("hand").submit(double, 1)
            waiter = asyncio.ensure_future(task)
            await until_idle()
            waiter.cancel()
            await asyncio.wait([waiter])

        assert [result.how for result in group.results()] == ["cancelled"]

    asyncio.run(main())


def test_a_shared_loop_that_is_shut_down_ends_its_tasks(bench: Any) -> None:
    """The block does not wait for ever."""
    began = threading.Event()

    async def begin() -> None:
        began.set()
        await for_ever()

    with bench.group(policy="settle") as group:
        group.loop.submit(begin)
        assert began.wait(SOON)
        assert bench.loop.shutdown()
        with pytest.raises(ExecutorShutdown):
            group.loop.submit(for_ever)

    (result,) = group.results()
    assert result.how in ("failed", "cancelled")


@on_loop
async def test_plain_code_on_a_loop_waits_without_blocking_it(bench: Any) -> None:
    """As views and hooks do on ASGI: an ordinary block, and ``result()``."""

    tried: list[bool] = []

    def view() -> list[Any]:
        with bench.group() as group:
            first = group.executor("hand").submit(double, 1)
            group.executor("hand").submit(double, 2)
            group.loop.submit(asyncio.sleep, 0, "slept")
            with pytest.raises(TimeoutError):
                first.result(0)
            tried.append(True)
            assert first.result() == "first"
        return list(group.results())

    async def meanwhile() -> None:
        await until(lambda: tried)
        bench.hand.end(0, "first")
        await until_idle()
        bench.hand.end(1, "second")

    ending = asyncio.create_task(meanwhile())
    assert await run_suspendable(view, copy_context()) == ["first", "second", "slept"]
    await ending


@on_loop
async def test_a_client_that_leaves_ends_the_group_of_plain_code(bench: Any) -> None:
    """The request's task is cancelled while the end of the block is awaited."""

    def view() -> None:
        with bench.group() as group:
            group.executor("hand").submit(double, 1)
            group.loop.submit(for_ever)

    async def request() -> None:
        await run_suspendable(view, copy_context())

    served = asyncio.create_task(request())
    await until(lambda: bench.hand.futures)
    served.cancel()
    with pytest.raises(asyncio.CancelledError):
        await served
    assert bench.hand.futures[0].cancelled()
