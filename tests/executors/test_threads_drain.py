"""A drain finishes what was accepted, and says what it could not wait for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any

import pytest

from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.vocabulary.errors import ConfigurationError, ExecutorShutdown

PoolOf = Callable[..., ThreadExecutor]
Occupy = Callable[[ThreadExecutor, int], threading.Event]


def test_a_drain_waits_for_all_that_was_accepted(pool_of: PoolOf, occupy: Occupy) -> None:
    """Running, queued, mapped and spawned; afterwards no thread is left."""
    pool, done = pool_of(2), list[int]()
    gate = occupy(pool, 2)
    pool.submit(done.append, 1)
    pool.map(done.append, [2, 3])
    pool.spawn(done.append, 4)
    gate.set()
    assert pool.drain(timeout=30) == []
    assert sorted(done) == [1, 2, 3, 4]
    assert pool.snapshot().workers == 0


def test_an_idle_pool_is_drained_at_once(pool_of: PoolOf) -> None:
    """Used or not, and once more; with no time at all, too."""
    unused, used = pool_of(), pool_of()
    used.submit(int).result(30)
    for pool in (unused, used):
        assert pool.drain(timeout=0) == []
        assert pool.drain(timeout=30) == []
        pool.shutdown()
        assert pool.drain(timeout=30) == []


def test_a_drained_pool_takes_no_work_from_outside(pool_of: PoolOf, occupy: Occupy) -> None:
    """From the beginning of the drain on; its own tasks go on as they did."""
    pool = pool_of(1)
    begun, go_on = threading.Event(), threading.Event()

    def parent() -> list[int]:
        begun.set()
        assert go_on.wait(30)
        return [
            pool.submit(int, "1").result(30),
            *pool.map(int, "23"),
            pool.spawn(int, "4").result(),
        ]

    family = pool.submit(parent)
    assert begun.wait(30)
    left: list[list[str]] = []
    draining = threading.Thread(target=lambda: left.append(pool.drain(timeout=30)))
    draining.start()
    while not pool._pool._closed:
        begun.wait(0.001)
    for hand_in in (pool.submit, pool.spawn):
        with pytest.raises(ExecutorShutdown):
            hand_in(int)
    with pytest.raises(ExecutorShutdown):
        pool.map(int, "1")
    go_on.set()
    assert family.result(30) == [1, 2, 3, 4]
    draining.join()
    assert left == [[]]


def test_pitfall_19_a_drain_is_bounded_and_names_what_it_left(
    pool_of: PoolOf, caplog: pytest.LogCaptureFixture
) -> None:
    """What runs runs on; what waits is cancelled, so that its waiters return."""
    pool = pool_of(1, name="reports")
    begun, gate, called = threading.Event(), threading.Event(), list[Future[Any]]()

    def hang() -> str:
        begun.set()
        assert gate.wait(30)
        return "done after all"

    class Unstarted:
        def __call__(self) -> None:
            raise AssertionError("cancelled tasks never start")

    running = pool.submit(hang)
    assert begun.wait(30)
    queued: list[Future[Any]] = [pool.submit(partial(int, "7")), pool.spawn(Unstarted())]
    mapped = pool.map(str, [1, 2])
    queued[0].add_done_callback(called.append)
    with caplog.at_level(logging.WARNING, "flask_concurrency.executors"):
        left = pool.drain(timeout=0.01)
    names = [name.rpartition(".")[2] for name in left]
    assert names == ["hang", "int", "Unstarted", "str", "str"]
    (record,) = caplog.records
    assert record.getMessage() == (
        f"'reports' waited 0.01 s for its tasks and left behind: {', '.join(left)}"
    )
    assert all(future.cancelled() for future in queued)
    assert called == [queued[0]]
    assert (pool.snapshot().cancelled, pool.snapshot().spawned) == (4, 0)
    gate.set()
    assert running.result(30) == "done after all"
    with pytest.raises(CancelledError):
        next(mapped)


def test_a_task_may_drain_its_own_pool(pool_of: PoolOf) -> None:
    """It waits for the others, not for itself, and does not name itself."""
    pool = pool_of(2)
    others = [pool.submit(int, n) for n in range(5)]
    assert pool.submit(pool.drain, 30).result(30) == []
    assert [other.result(30) for other in others] == list(range(5))


@pytest.mark.parametrize("timeout", [-1, None, "5", True, float("inf"), float("nan")])
def test_a_drain_needs_a_number_of_seconds(pool_of: PoolOf, timeout: Any) -> None:
    """It is bounded, that is what it is for; the pool stays open."""
    pool = pool_of()
    with pytest.raises(ConfigurationError, match=r"timeout=.* or use shutdown\(\)"):
        pool.drain(timeout)
    assert pool.submit(int).result(30) == 0
