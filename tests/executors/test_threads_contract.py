"""The thread executor keeps the contract of ``concurrent.futures.Executor``."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    as_completed,
    wait,
)
from typing import Any

import pytest

from event_loops import until_idle
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.vocabulary.errors import ExecutorShutdown

PoolOf = Callable[..., ThreadExecutor]
Occupy = Callable[[ThreadExecutor, int], threading.Event]


def divide_by_zero() -> float:
    return 1 / 0


def test_submit_returns_a_future_of_the_call(pool_of: PoolOf) -> None:
    """Arguments go to the call as they are, also those named like our own parameters."""
    pool = pool_of()
    future = pool.submit(dict, fn=1, self=2, task=3)
    assert isinstance(pool, Executor)
    assert isinstance(future, Future)
    assert future.result(5) == {"fn": 1, "self": 2, "task": 3}


def test_a_task_runs_in_a_named_thread_of_the_pool(pool_of: PoolOf) -> None:
    """A reader of a stack dump sees whose thread it is."""
    thread = pool_of(name="reports").submit(threading.current_thread).result(5)
    assert thread.name.startswith("reports_")


def test_an_exception_is_raised_in_the_caller_with_its_traceback(pool_of: PoolOf) -> None:
    """``result`` raises what the task raised, and the traceback leads into the task."""
    future = pool_of().submit(divide_by_zero)
    with pytest.raises(ZeroDivisionError) as raised:
        future.result(5)
    assert raised.value is future.exception()
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert frames[-1].name == "divide_by_zero"


def test_pitfall_12_exceptions_that_end_a_program_end_only_the_task(pool_of: PoolOf) -> None:
    """``sys.exit()`` and Ctrl-C within a task are its outcome; the thread goes on."""
    pool = pool_of(1)
    for error in (SystemExit(3), KeyboardInterrupt()):

        def raise_it(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)):
            pool.submit(raise_it).result(5)
    assert pool.submit(int, "7").result(5) == 7
    assert pool.snapshot().workers == 1


def test_a_callback_that_raises_costs_no_thread(
    pool_of: PoolOf, caplog: pytest.LogCaptureFixture
) -> None:
    """Even ``sys.exit()`` in a callback is logged, and the thread takes the next task."""
    pool, gate = pool_of(1), threading.Event()
    future = pool.submit(gate.wait, 5)

    def leave(_: Future[bool]) -> None:
        raise SystemExit

    future.add_done_callback(leave)
    gate.set()
    assert pool.submit(int, "7").result(5) == 7
    pool.shutdown()
    assert "A done callback of a task of 'threads' raised" in caplog.text


def test_a_log_filter_that_raises_costs_no_thread(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that asks for the request, say, which there is none on a thread of the pool."""

    def refuse(record: logging.LogRecord) -> bool:
        raise RuntimeError("Working outside of request context.")

    logger = logging.getLogger("flask_concurrency.executors")
    monkeypatch.setattr(logger, "filters", [refuse])
    pool, gate = pool_of(1), threading.Event()
    future = pool.submit(gate.wait, 5)

    def leave(_: Future[bool]) -> None:
        raise SystemExit

    future.add_done_callback(leave)
    gate.set()
    pool.spawn(int, "x")
    assert pool.submit(int, "7").result(5) == 7
    pool.shutdown()
    assert capsys.readouterr().err.count("\nRuntimeError: Working outside") == 2


def test_callbacks_see_the_finished_future(pool_of: PoolOf) -> None:
    """They are called for results, errors and cancellations."""
    pool, called = pool_of(1), threading.Event()
    seen: list[int] = []

    def look(future: Future[int]) -> None:
        seen.append(future.result())
        called.set()

    pool.submit(int, "7").add_done_callback(look)
    assert called.wait(5)
    assert seen == [7]


def test_a_queued_task_can_be_cancelled_and_a_running_one_cannot(pool_of: PoolOf) -> None:
    """What has not started never starts; what has started runs to its end."""
    pool, ran = pool_of(1), threading.Event()
    entered, gate = threading.Event(), threading.Event()

    def wait_for_the_gate() -> bool:
        entered.set()
        return gate.wait(5)

    running, queued = pool.submit(wait_for_the_gate), pool.submit(ran.set)
    assert entered.wait(5)
    assert not running.cancel()
    assert queued.cancel()
    gate.set()
    assert running.result(5)
    with pytest.raises(CancelledError):
        queued.result(5)
    pool.shutdown()
    assert not ran.is_set()
    assert pool.snapshot().cancelled == 1


def test_wait_returns_for_a_cancelled_task_while_the_threads_are_busy(
    pool_of: PoolOf, occupy: Occupy
) -> None:
    """``wait`` needs to be told of a cancellation, and no thread has to become free for it."""
    pool = pool_of(1)
    occupy(pool, 1)
    queued = pool.submit(int)
    queued.cancel()
    done, not_done = wait([queued], timeout=5)
    assert (done, not_done) == ({queued}, set())


def test_wait_and_as_completed_work(pool_of: PoolOf) -> None:
    """Both look into the futures, so they must be real ones."""
    pool, gate = pool_of(2), threading.Event()
    slow: Future[Any] = pool.submit(gate.wait, 5)
    fast: Future[Any] = pool.submit(int)
    assert wait([slow, fast], timeout=5, return_when=FIRST_COMPLETED).done == {fast}
    gate.set()
    assert wait([slow, fast], timeout=5, return_when=ALL_COMPLETED).done == {slow, fast}
    assert set(as_completed([slow, fast], timeout=5)) == {slow, fast}


def test_tasks_start_in_the_order_of_their_submission(pool_of: PoolOf, occupy: Occupy) -> None:
    """First come, first served."""
    pool = pool_of(1)
    gate, order = occupy(pool, 1), list[int]()
    futures = [pool.submit(order.append, i) for i in range(20)]
    gate.set()
    wait(futures, timeout=5)
    assert order == list(range(20))


def test_shutdown_finishes_what_was_accepted(pool_of: PoolOf, occupy: Occupy) -> None:
    """``shutdown()`` returns when running and queued tasks have ended."""
    pool = pool_of(1)
    gate = occupy(pool, 1)
    futures = [pool.submit(int, i) for i in range(5)]
    closing = threading.Thread(target=pool.shutdown)
    closing.start()
    assert closing.is_alive()
    gate.set()
    closing.join(5)
    assert [future.result(0) for future in futures] == list(range(5))
    assert pool.snapshot().workers == 0


def test_shutdown_without_waiting_returns_at_once(pool_of: PoolOf, occupy: Occupy) -> None:
    """The tasks go on, and the caller does not wait for them."""
    pool = pool_of(1)
    gate = occupy(pool, 1)
    future = pool.submit(int, "7")
    pool.shutdown(wait=False)
    assert not future.done()
    gate.set()
    assert future.result(5) == 7


def test_shutdown_can_cancel_what_is_queued(pool_of: PoolOf, occupy: Occupy) -> None:
    """With ``cancel_futures`` only running tasks end by themselves; waiters are woken."""
    pool = pool_of(1)
    gate = occupy(pool, 1)
    queued = [pool.submit(int) for _ in range(3)]
    mapped = pool.map(int, range(3))
    pool.shutdown(wait=False, cancel_futures=True)
    assert wait(queued, timeout=5).done == set(queued)
    assert all(future.cancelled() for future in queued)
    with pytest.raises(CancelledError):
        next(mapped)
    gate.set()
    pool.shutdown()
    assert pool.snapshot().cancelled == 6


def test_shutdown_can_cancel_the_rest_of_a_running_map(pool_of: PoolOf) -> None:
    """A map whose first call runs has the others in no queue, and they are cancelled too."""
    pool, entered, gate = pool_of(1), threading.Event(), threading.Event()

    def call(i: int) -> int:
        entered.set()
        assert gate.wait(5)
        return i

    results = pool.map(call, range(3))
    assert entered.wait(5)
    pool.shutdown(wait=False, cancel_futures=True)
    gate.set()
    assert next(results) == 0
    with pytest.raises(CancelledError):
        next(results)


def test_nothing_is_accepted_after_shutdown(pool_of: PoolOf) -> None:
    """A RuntimeError as in the standard library, by the name of the pool; closing twice is fine."""
    pool = pool_of(name="reports")
    pool.shutdown()
    pool.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(ExecutorShutdown, match="'reports' was shut down"):
        pool.submit(int)
    with pytest.raises(RuntimeError):
        pool.map(int, [1])
    assert list(pool.map(int, [])) == []


def test_a_task_that_closes_its_own_pool_does_not_wait_for_itself(pool_of: PoolOf) -> None:
    """The standard library raises here after the pool is closed; ours just closes."""
    pool = pool_of(2)
    assert pool.submit(pool.shutdown).result(5) is None
    with pytest.raises(ExecutorShutdown):
        pool.submit(int)


def test_the_end_of_a_with_block_waits_for_the_tasks() -> None:
    """The pool is closed and its threads are gone."""
    with ThreadExecutor(2) as pool:
        future = pool.submit(int, "7")
    assert future.result(0) == 7
    assert pool.snapshot().workers == 0


def test_a_running_loop_can_await_a_call(pool_of: PoolOf) -> None:
    """By ``run``, and by asyncio's own ``run_in_executor``."""
    pool = pool_of()

    async def main() -> tuple[int, int]:
        mine = await pool.run(int, "10", base=2)
        return mine, await asyncio.get_running_loop().run_in_executor(pool, int, "7")

    assert asyncio.run(main()) == (2, 7)


def test_cancelling_an_awaited_call_takes_it_out_of_the_queue(
    pool_of: PoolOf, occupy: Occupy
) -> None:
    """The task never starts, and its slot is free at once."""
    pool, ran = pool_of(1), threading.Event()
    gate = occupy(pool, 1)

    async def main() -> None:
        task = asyncio.create_task(pool.run(ran.set))
        await until_idle()
        assert pool.snapshot().queued == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pool.snapshot().queued == 0

    asyncio.run(main())
    gate.set()
    pool.shutdown()
    assert not ran.is_set()


def test_a_result_is_not_kept_alive_by_the_pool(pool_of: PoolOf) -> None:
    """When the future goes, so do result, arguments and function."""

    class Thing:
        def method(self, other: Thing) -> Thing:
            return Thing()

    pool = pool_of(1)
    receiver, argument = Thing(), Thing()
    future = pool.submit(receiver.method, argument)
    refs = [weakref.ref(each) for each in (receiver, argument, future.result(5))]
    pool.submit(int).result(5)  # the thread has released the task before
    del receiver, argument, future
    assert [ref() for ref in refs] == [None, None, None]
