"""A call without a future: a callback learns how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures.thread import BrokenThreadPool
from contextvars import Context, ContextVar
from queue import SimpleQueue
from typing import Any

import pytest

from flask_concurrency import QueueFull
from flask_concurrency.executors.own_context import OwnContext
from flask_concurrency.executors.threads import ThreadExecutor

PoolOf = Callable[..., ThreadExecutor]
Occupy = Callable[[ThreadExecutor, int], threading.Event]
Ends = SimpleQueue[tuple[Any, BaseException | None]]

who: ContextVar[str] = ContextVar("who")


@pytest.fixture
def ends() -> Ends:
    """What callbacks were told."""
    return SimpleQueue()


def telling(ends: Ends) -> Callable[[Any, BaseException | None], None]:
    return lambda result, error: ends.put((result, error))


def own(**variables: str) -> OwnContext:
    context = Context()
    for value in variables.values():
        context.run(who.set, value)
    return OwnContext(context)


def test_the_result_is_told_when_the_thread_is_free(pool_of: PoolOf) -> None:
    """All that is counted of a call has been counted by then."""
    pool, told = pool_of(1), SimpleQueue[Any]()

    def tell(result: Any, error: BaseException | None) -> None:
        told.put((result, error, pool.snapshot()))

    pool.submit_with_callback(own(who="Ann"), who.get, tell)
    result, error, snapshot = told.get(timeout=30)
    assert (result, error) == ("Ann", None)
    assert (snapshot.busy, snapshot.done) == (0, 1)


def test_the_error_is_told(pool_of: PoolOf, ends: Ends) -> None:
    """It is counted, and the thread goes on."""
    pool = pool_of(1)
    pool.submit_with_callback(own(), who.get, telling(ends))
    assert isinstance(ends.get(timeout=30)[1], LookupError)
    pool.submit_with_callback(own(who="Bob"), who.get, telling(ends))
    assert ends.get(timeout=30) == ("Bob", None)
    assert pool.snapshot().failed == 1


def test_a_call_that_waits_can_be_cancelled(pool_of: PoolOf, occupy: Occupy, ends: Ends) -> None:
    """Its place in the queue is free at once; a second time changes nothing."""
    pool = pool_of(1, max_queue=1)
    gate = occupy(pool, 1)
    cancel = pool.submit_with_callback(own(who="Ann"), who.get, telling(ends))
    with pytest.raises(QueueFull):
        pool.submit_with_callback(own(who="Bob"), who.get, telling(ends))
    cancel()
    assert isinstance(ends.get(timeout=30)[1], CancelledError)
    cancel()
    pool.submit_with_callback(own(who="Cem"), who.get, telling(ends))
    gate.set()
    assert ends.get(timeout=30) == ("Cem", None)
    assert ends.empty()
    assert (pool.snapshot().cancelled, pool.snapshot().refused) == (1, 1)


def test_a_call_that_runs_cannot(pool_of: PoolOf, ends: Ends) -> None:
    """It is told how that ended."""
    entered, leave = threading.Event(), threading.Event()

    def call() -> str:
        entered.set()
        assert leave.wait(30)
        return "done"

    cancel = pool_of(1).submit_with_callback(own(), call, telling(ends))
    assert entered.wait(30)
    cancel()
    leave.set()
    assert ends.get(timeout=30) == ("done", None)


def test_a_shutdown_that_drops_tasks_is_told(pool_of: PoolOf, occupy: Occupy, ends: Ends) -> None:
    """As cancelled, so that no caller waits for ever."""
    pool = pool_of(1)
    gate = occupy(pool, 1)
    pool.submit_with_callback(own(who="Ann"), who.get, telling(ends))
    pool.shutdown(wait=False, cancel_futures=True)
    assert isinstance(ends.get(timeout=30)[1], CancelledError)
    gate.set()


def test_a_pool_that_cannot_start_its_threads_is_told(pool_of: PoolOf, ends: Ends) -> None:
    """With the error that futures get."""
    entered = threading.Event()

    def fail() -> None:
        assert entered.wait(30)
        raise OSError("no database")

    pool = pool_of(1, initializer=fail)
    pool.submit_with_callback(own(who="Ann"), who.get, telling(ends))
    entered.set()
    assert isinstance(ends.get(timeout=30)[1], BrokenThreadPool)


def test_a_callback_that_raises_loses_no_other_task(
    pool_of: PoolOf, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread has its next task by then, and stays, whatever was raised."""
    pool, gate = pool_of(1), threading.Event()

    def leave(result: Any, error: BaseException | None) -> None:
        raise SystemExit

    pool.submit_with_callback(own(), lambda: gate.wait(30), leave)
    following = pool.submit(int, "7")
    gate.set()
    assert following.result(30) == 7
    assert "is told of the end of a task of" in caplog.text
