"""Tasks end with their block: what is raised, what is cancelled, and what the block waits for."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from functools import partial
from typing import Any

import pytest

from flask_concurrency.executors.groups.result import TaskResult
from flask_concurrency.executors.groups.task_group import TaskGroup
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.vocabulary.errors import (
    DeadlineExceeded,
    ExecutorError,
    ExecutorShutdown,
    LoopBlocked,
    QueueFull,
)
from group_tasks import SOON, double, fail, twice, until_unwanted


def test_results_come_in_the_order_of_submission(bench: Any) -> None:
    """Whichever executor they ran on, and in whatever order they ended."""
    with bench.group() as group:
        slow = group.executor("hand").submit(double, 0)
        quick = group.threads.submit(double, 1)
        on_loop = group.loop.submit(twice, 2)
        assert (quick.result(SOON), on_loop.result(SOON)) == (2, 4)
        bench.hand.end(0, result="last")

    assert group.results() == ["last", 2, 4]
    assert slow.result() == "last"
    assert group.missing == ()


def test_the_first_error_is_raised_itself_and_ends_the_rest(bench: Any) -> None:
    """In a queue, on a thread, on the loop: none outlives the block."""
    cleaned_up, began = threading.Event(), threading.Event()
    ended: list[str] = []

    async def for_ever() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    with bench.failing(ValueError, "no") as (group, caught):
        queued = group.executor("hand").submit(double, 1)
        group.threads.submit(lambda: ended.append(until_unwanted(began)))
        assert began.wait(SOON)
        began.clear()
        coroutine = group.loop.submit(for_ever)
        assert began.wait(SOON)
        group.threads.submit(fail)

    assert queued.cancelled()
    assert coroutine.cancelled()
    assert cleaned_up.is_set()
    assert ended == ["ran to its end"]
    assert caught.value.__notes__ == [
        "Raised by task #4 fail (ValueError('no')) of 4 in a group.",
        "Its siblings that were cancelled: #1 double, #2 <lambda>, #3 for_ever.",
    ]


def test_a_body_that_waits_for_a_cancelled_sibling_raises_the_first_error(bench: Any) -> None:
    """Not that sibling's cancellation, which would hide what happened."""
    with bench.failing(ValueError, "no") as (group, caught):
        queued = group.executor("hand").submit(double, 1)
        group.threads.submit(fail)
        queued.result(SOON)

    assert caught.value.__context__ is None


def test_a_body_that_meets_the_first_error_itself_raises_it_with_its_notes(bench: Any) -> None:
    """Asked for by ``result()``, it is the same error."""
    with bench.failing(ValueError, "no") as (group, caught):
        queued = group.executor("hand").submit(double, 1)
        group.threads.submit(fail).result(SOON)

    assert queued.cancelled()
    assert any("#1 double" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("error", [KeyError("body"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_an_error_of_the_body_cancels_waits_and_goes_on(bench: Any, error: BaseException) -> None:
    """Whatever the policy, and with a word on tasks that had failed."""
    with bench.failing(type(error), policy="settle") as (group, caught):
        failed = group.threads.submit(fail)
        wait([failed], SOON)
        queued = group.executor("hand").submit(double, 1)
        running = group.threads.submit(until_unwanted)
        raise error

    assert caught.value is error
    assert queued.cancelled()
    assert running.done()
    assert error.__notes__ == ["Tasks of the group that failed: #1 fail (ValueError('no'))."]
    with pytest.raises(ExecutorError, match="without an error"):
        group.results()


def test_a_task_that_is_refused_is_an_error_of_the_body(
    pool_of: Callable[..., ThreadExecutor],
    occupy: Callable[[ThreadExecutor, int], threading.Event],
    bench: Any,
) -> None:
    """A full queue: what was accepted is cancelled, and what was refused is no task."""
    bench.executors["small"] = small = pool_of(1, max_queue=2)
    occupy(small, 1)

    with bench.failing(QueueFull) as (group, _):
        for number in range(5):
            group.executor("small").submit(double, number)

    assert [task.cancelled() for task in group.tasks] == [True, True]


def test_the_first_result_of_any_cancels_the_rest(bench: Any) -> None:
    """Errors before it do not matter."""
    with bench.group(policy="any") as group:
        queued = group.executor("hand").submit(double, 1)
        group.threads.submit(fail)
        group.threads.submit(until_unwanted)
        wait(group.tasks[1:2], SOON)
        group.threads.submit(double, 21)

    assert group.result() == 42
    assert group.results() == [42]
    assert queued.cancelled()


def test_a_body_that_waits_for_a_loser_goes_on_after_the_block(bench: Any) -> None:
    """The group has its result, so this is no error."""
    with bench.group(policy="any") as group:
        loser = group.executor("hand").submit(double, 1)
        group.threads.submit(double, 21)
        loser.result(SOON)
        pytest.fail("the block goes on")

    assert group.result() == 42


def test_a_task_submitted_too_late_is_cancelled_and_never_called(bench: Any) -> None:
    """A loop that submits need not know that the race is over."""
    with bench.group(policy="any") as group:
        group.threads.submit(double, 21).result(SOON)
        late = [group.executor("hand").submit(double, number) for number in range(3)]

    assert group.result() == 42
    assert all(task.cancelled() for task in late)
    assert bench.hand.futures == []


def test_any_without_a_task_has_no_result(bench: Any) -> None:
    """Asking for it says so; the block itself is no error."""
    with bench.group(policy="any") as group:
        pass

    with pytest.raises(ExecutorError, match="no task was left"):
        group.result()


def test_settle_tells_how_each_ended(bench: Any) -> None:
    """Nothing is raised and nothing is cancelled, until time is up."""
    with bench.group(timeout=5, policy="settle") as group:
        group.threads.submit(double, 1)
        failed = group.threads.submit(fail)
        group.executor("hand").submit(double, 2).cancel()
        group.executor("hand").submit(double, 3)
        wait(group.tasks[:3], SOON)
        bench.alarms.advance(5)

    done, error, cancelled, late = group.results()
    assert done == TaskResult("double", "done", value=2)
    assert (error.how, error.error, error.ok) == ("failed", failed.exception(), False)
    assert (cancelled.cancelled, cancelled.error) == (True, None)
    assert late.how == "late"
    assert isinstance(late.error, DeadlineExceeded)
    assert group.missing == group.tasks[1:]


def test_a_task_may_add_tasks_while_the_block_ends(bench: Any) -> None:
    """The block waits for them, too."""

    def spread(group: TaskGroup, left: int) -> int:
        if left:
            group.threads.submit(spread, group, left - 1)
        return left

    with bench.group() as group:
        group.threads.submit(spread, group, 3)

    assert group.results() == [3, 2, 1, 0]


def test_a_group_outside_of_its_block_takes_no_task(bench: Any) -> None:
    """Before, after, and never twice."""
    group = bench.group()
    with pytest.raises(ExecutorShutdown, match="inside of its block"):
        group.threads.submit(double, 1)
    with pytest.raises(ExecutorError, match="known after its block"), group:
        group.results()
    with pytest.raises(ExecutorShutdown, match="'double' refused"):
        group.threads.submit(double, 1)
    with pytest.raises(ExecutorShutdown, match="'twice' refused"):
        group.loop.submit(twice, 1)
    with pytest.raises(ExecutorError, match="entered once"), group:
        pass


def test_only_any_has_one_result(bench: Any) -> None:
    """The others say where theirs are."""
    with bench.group() as group:
        group.threads.submit(double, 1)

    with pytest.raises(ExecutorError, match=r"policy='all' .*group\.results\(\)"):
        group.result()


def test_what_cannot_run_there_is_refused(bench: Any) -> None:
    """An async function on threads, an ordinary one or a coroutine on the loop."""
    for where, wrong, told in [
        ("threads", twice, "Submit it to group.loop"),
        ("loop", double, "Submit it to group.threads"),
        ("loop", twice(1), r"submit\(fetch, url\)"),
    ]:
        with bench.failing(TypeError, told) as (group, _):
            getattr(group, where).submit(wrong, 1)
        assert group.tasks == ()


def test_ctrl_c_while_the_block_waits_ends_its_tasks(bench: Any) -> None:
    """It is raised once they have ended."""

    def interrupt(ident: int) -> str:
        signal.pthread_kill(ident, signal.SIGINT)
        return until_unwanted()

    with bench.failing(KeyboardInterrupt) as (group, _):
        queued = group.executor("hand").submit(double, 1)
        running = group.threads.submit(interrupt, threading.get_ident())
        running.add_done_callback(lambda _: None)

    assert queued.cancelled()
    assert running.done()


def test_whoever_presses_ctrl_c_twice_need_not_wait(bench: Any) -> None:
    """A thread that looks at nothing is left to itself."""
    gate = threading.Event()

    def interrupt_twice(ident: int) -> None:
        signal.pthread_kill(ident, signal.SIGINT)
        until_unwanted()
        signal.pthread_kill(ident, signal.SIGINT)
        assert gate.wait(SOON)

    with bench.failing(KeyboardInterrupt) as (group, _):
        group.threads.submit(interrupt_twice, threading.get_ident())

    assert not group.tasks[0].done()
    gate.set()


def test_an_executor_that_fails_to_cancel_does_not_keep_the_others(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the rest is cancelled all the same."""

    class Stubborn(Future[None]):
        def cancel(self) -> bool:
            self.set_result(None)
            raise OSError("no connection")

    bench.executors["odd"] = odd = type(bench.hand)()
    odd.submit = lambda *_: Stubborn()

    with bench.failing(ValueError, "no") as (group, _):
        group.executor("odd").submit(double, 1)
        queued = group.executor("hand").submit(double, 1)
        group.threads.submit(fail)

    assert queued.cancelled()
    assert "no connection" in caplog.text


def test_a_cancellation_that_no_loop_sent_is_an_error_of_the_body(bench: Any) -> None:
    """It is not taken for the end of a task."""
    with bench.failing(asyncio.CancelledError, policy="any") as (group, _):
        group.threads.submit(double, 1).result(SOON)
        raise asyncio.CancelledError


def test_a_task_is_a_future_like_any_other(bench: Any) -> None:
    """``wait``, callbacks, ``running()`` and ``cancel()`` do what they always do."""
    ended: list[str] = []
    with bench.group() as group:
        task = group.executor("hand").submit(double, 1)
        task.add_done_callback(lambda task: ended.append(task.name))
        assert (task.running(), task.done()) == (False, False)
        bench.hand.begin(0)
        assert task.running()
        assert not task.cancel()
        bench.hand.end(0, result=2)
        assert wait([task], SOON).done == {task}
        assert not task.cancel()
        other = group.executor("hand").submit(partial(double, 1))
        assert other.cancel()
        assert other.cancel()
        with pytest.raises(CancelledError):
            other.exception()

    assert ended == ["double"]
    assert other.name == "double"


def test_an_ended_task_does_not_keep_its_arguments(bench: Any) -> None:
    """Which may be a request with its uploads."""

    class Upload:
        pass

    upload = Upload()
    kept = weakref.ref(upload)
    with bench.group() as group:
        group.threads.submit(id, upload)
        del upload

    gc.collect()
    assert kept() is None
    assert len(group.results()) == 1


def test_an_ordinary_block_does_not_hold_an_event_loop_up(bench: Any) -> None:
    """It says what to write instead."""

    async def wrong() -> None:
        with bench.group():
            pass

    async def as_a_task() -> None:
        await asyncio.create_task(wrong())

    with pytest.raises(LoopBlocked, match="async with"):
        bench.loop.run(as_a_task())


def test_an_ordinary_block_that_can_be_set_aside_waits_on_a_loop(bench: Any) -> None:
    """What a coroutine on the shared loop calls has a stack of its own."""

    async def wait() -> list[Any]:
        with bench.group() as group:
            group.loop.submit(asyncio.sleep, 0, "slept")
        return list(group.results())

    assert bench.loop.run(wait()) == ["slept"]
