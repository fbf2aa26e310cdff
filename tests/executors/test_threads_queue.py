"""The queue of the thread executor is bounded, and only live work takes its slots."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.vocabulary.errors import QueueFull

PoolOf = Callable[..., ThreadExecutor]
Occupy = Callable[[ThreadExecutor, int], threading.Event]


def test_pitfall_20_a_full_queue_refuses(pool_of: PoolOf, occupy: Occupy) -> None:
    """Two run, three wait, the next is refused at once with the numbers and the remedy."""
    pool = pool_of(2, max_queue=3, name="reports")
    gate = occupy(pool, 2)
    waiting = [pool.submit(int) for _ in range(3)]
    with pytest.raises(QueueFull, match=r"'reports' refused a task: 3 of 3 .* raise 'max_queue'"):
        pool.submit(int)
    with pytest.raises(QueueFull):
        pool.map(int, [1])
    assert pool.snapshot().refused == 2
    gate.set()
    assert [future.result(5) for future in waiting] == [0, 0, 0]
    pool.submit(int).result(5)


def test_a_queue_of_none_takes_what_a_thread_is_free_for(pool_of: PoolOf, occupy: Occupy) -> None:
    """``max_queue=0``: nothing ever waits."""
    pool = pool_of(2, max_queue=0)
    occupy(pool, 1)
    gate = occupy(pool, 1)
    with pytest.raises(QueueFull):
        pool.submit(int)
    gate.set()


def test_a_queue_without_bound_takes_all(pool_of: PoolOf, occupy: Occupy) -> None:
    """``max_queue=None``, as in the standard library."""
    pool = pool_of(1, max_queue=None)
    gate = occupy(pool, 1)
    futures = [pool.submit(int) for _ in range(5_000)]
    assert pool.snapshot().queued == 5_000
    gate.set()
    assert futures[-1].result(10) == 0


def test_a_cancelled_task_gives_its_place_back_at_once(pool_of: PoolOf, occupy: Occupy) -> None:
    """While the threads are busy: the queue holds only work that is still wanted."""
    pool = pool_of(1, max_queue=2)
    gate = occupy(pool, 1)
    first, second = pool.submit(int), pool.submit(int)
    assert first.cancel()
    third = pool.submit(int)
    with pytest.raises(QueueFull):
        pool.submit(int)
    gate.set()
    assert (second.result(5), third.result(5)) == (0, 0)
    pool.shutdown()
    assert pool.snapshot().cancelled == 1


def test_the_snapshot_counts_what_is_and_what_was(pool_of: PoolOf, occupy: Occupy) -> None:
    """Threads come with the work, and every task ends in one of the counters."""
    pool = pool_of(3, max_queue=5)
    assert pool.snapshot().workers == 0
    gate = occupy(pool, 3)
    waiting = [pool.submit(int, "x"), pool.submit(int), pool.submit(int)]
    waiting[2].cancel()
    now = pool.snapshot()
    assert (now.workers, now.max_workers, now.busy) == (3, 3, 3)
    assert (now.queued, now.max_queue, now.cancelled) == (2, 5, 1)
    gate.set()
    pool.shutdown()
    then = pool.snapshot()
    assert (then.workers, then.busy, then.queued) == (0, 0, 0)
    assert (then.done, then.failed, then.cancelled, then.refused) == (4, 1, 1, 0)


def test_threads_come_one_by_one(pool_of: PoolOf, occupy: Occupy) -> None:
    """No thread before the first task, and none more while one is free."""
    pool = pool_of(8)
    occupy(pool, 1)
    assert pool.snapshot().workers == 1
    occupy(pool, 2)
    assert pool.snapshot().workers == 3
