"""Background work is bounded and joined, and its failures are logged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar

import pytest

from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.runtime.deadline import current_deadline, within
from flask_concurrency.testing.manual_timekeeper import ManualTimekeeper
from flask_concurrency.vocabulary.errors import ExecutorShutdown, QueueFull

PoolOf = Callable[..., ThreadExecutor]
Occupy = Callable[[ThreadExecutor, int], threading.Event]

trace: ContextVar[str] = ContextVar("trace", default="none")


def test_a_spawned_task_is_a_future(pool_of: PoolOf) -> None:
    """A caller may wait for it; its arguments are passed on as they are."""
    assert pool_of().spawn(dict, fn=1, self=2).result(30) == {"fn": 1, "self": 2}


def test_a_spawned_task_does_not_end_with_its_callers_deadline(
    pool_of: PoolOf, occupy: Occupy
) -> None:
    """It has none itself, whether the caller's passes while it waits or has passed before."""
    time = ManualTimekeeper()
    pool = pool_of(1, clock=time.clock, timekeeper=time)
    gate = occupy(pool, 1)
    with within(1.0, time.clock) as deadline:
        first = pool.spawn(current_deadline)
        deadline.expire()
        second = pool.spawn(current_deadline)
    assert len(time) == 0
    time.advance(60.0)
    gate.set()
    assert (first.result(30), second.result(30)) == (None, None)


def test_a_spawned_task_sees_the_other_variables_of_its_caller(pool_of: PoolOf) -> None:
    """So its lines in the log belong to the trace of the request."""
    token = trace.set("a1b2")
    future = pool_of().spawn(trace.get)
    trace.reset(token)
    assert future.result(30) == "a1b2"


def test_a_spawned_task_that_fails_is_logged_with_its_traceback(
    pool_of: PoolOf, caplog: pytest.LogCaptureFixture
) -> None:
    """Its future may never be read."""
    pool = pool_of(1, name="reports")

    def send_mail() -> None:
        raise LookupError("no such user")

    pool.spawn(send_mail)
    pool.shutdown()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("flask_concurrency.executors", "ERROR")
    assert "send_mail' of 'reports' failed" in record.getMessage()
    assert "in send_mail" in caplog.text
    assert "LookupError: no such user" in caplog.text


def test_a_cancelled_background_task_is_no_failure(
    pool_of: PoolOf, occupy: Occupy, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller wanted it so."""
    pool = pool_of(1)
    occupy(pool, 1)
    pool.spawn(int, "x").cancel()
    assert pool.snapshot().spawned == 0
    assert caplog.records == []


def test_background_work_is_bounded_by_the_same_queue(pool_of: PoolOf, occupy: Occupy) -> None:
    """It is counted among what waits, and as spawned until it ends; one too many is refused."""
    pool = pool_of(1, max_queue=2)
    gate = occupy(pool, 1)
    waiting = [pool.spawn(int), pool.spawn(int)]
    with pytest.raises(QueueFull):
        pool.spawn(int)
    with pytest.raises(QueueFull):
        pool.submit(int)
    assert (pool.snapshot().spawned, pool.snapshot().queued) == (2, 2)
    gate.set()
    assert [future.result(30) for future in waiting] == [0, 0]
    pool.shutdown()
    assert pool.snapshot().spawned == 0


def test_background_work_is_joined_at_shutdown_and_refused_afterwards(
    pool_of: PoolOf, occupy: Occupy
) -> None:
    """What was accepted is done."""
    pool = pool_of(1)
    gate = occupy(pool, 1)
    accepted = pool.spawn(int, "7")
    pool.shutdown(wait=False)
    with pytest.raises(ExecutorShutdown):
        pool.spawn(int)
    assert pool.snapshot().spawned == 1
    gate.set()
    pool.shutdown()
    assert accepted.result(0) == 7


def test_a_task_that_spawns_goes_on_at_once(pool_of: PoolOf) -> None:
    """No thread is free: unlike a nested ``submit`` it does not run in the spawning task."""
    pool = pool_of(1, max_queue=1)
    order: list[str] = []

    def parent() -> None:
        pool.spawn(order.append, "child")
        with pytest.raises(QueueFull):
            pool.spawn(order.append, "one too many")
        order.append("parent")

    pool.submit(parent).result(30)
    pool.shutdown()
    assert order == ["parent", "child"]


@pytest.mark.parametrize("ask", ["result", "exception"])
def test_pitfall_21_a_task_may_wait_for_what_it_spawned(pool_of: PoolOf, ask: str) -> None:
    """On the only thread, which runs it when it is waited for; afterwards it has no reference."""
    pool = pool_of(1)

    def parent() -> object:
        child = pool.spawn(threading.get_ident)
        getattr(child, ask)(30)
        return child.result(30) == threading.get_ident()

    assert pool.submit(parent).result(30) is True
