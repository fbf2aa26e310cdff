"""Tasks that submit tasks to their own pool and wait for them always get through."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED, Future, as_completed, wait

import pytest

from flask_concurrency.executors.threads import ThreadExecutor

PoolOf = Callable[..., ThreadExecutor]
Occupy = Callable[[ThreadExecutor, int], threading.Event]
Join = Callable[[ThreadExecutor, Callable[[int], int], range], int]


def join_results(pool: ThreadExecutor, call: Callable[[int], int], items: range) -> int:
    return sum(future.result(5) for future in [pool.submit(call, i) for i in items])


def join_by_wait(pool: ThreadExecutor, call: Callable[[int], int], items: range) -> int:
    futures = [pool.submit(call, i) for i in items]
    done, not_done = wait(futures, timeout=5, return_when=ALL_COMPLETED)
    assert not not_done
    return sum(future.result(0) for future in done)


def join_as_completed(pool: ThreadExecutor, call: Callable[[int], int], items: range) -> int:
    futures = [pool.submit(call, i) for i in items]
    return sum(future.result(0) for future in as_completed(futures, timeout=5))


def join_by_map(pool: ThreadExecutor, call: Callable[[int], int], items: range) -> int:
    return sum(pool.map(call, items, timeout=5))


def join_by_buffered_map(pool: ThreadExecutor, call: Callable[[int], int], items: range) -> int:
    return sum(pool.map(call, items, timeout=5, buffersize=1))


@pytest.mark.parametrize("max_workers", [1, 2])
@pytest.mark.parametrize(
    "join",
    [
        join_results,
        join_by_wait,
        join_as_completed,
        join_by_map,
        join_by_buffered_map,
    ],
)
def test_pitfall_21_nested_tasks_end_at_any_depth(
    pool_of: PoolOf, join: Join, max_workers: int
) -> None:
    """Five levels of three tasks each, all waiting for their children, on one or two threads."""
    pool = pool_of(max_workers, max_queue=4)

    def descend(depth: int) -> int:
        if depth == 0:
            return 1
        return join(pool, lambda _: descend(depth - 1), range(3))

    assert pool.submit(descend, 5).result(10) == 3**5


def test_a_task_with_a_loop_of_its_own_may_await_its_pool(pool_of: PoolOf) -> None:
    """On the only thread, which the loop occupies, the awaited calls run at once."""
    pool = pool_of(1)

    async def main() -> list[int]:
        return await asyncio.gather(*(pool.run(int, i) for i in range(3)))

    assert pool.submit(asyncio.run, main()).result(5) == [0, 1, 2]


def test_nested_tasks_overlap_while_threads_are_free(pool_of: PoolOf) -> None:
    """Running inline is the last resort: two children meet at a barrier on three threads."""
    pool = pool_of(3)
    barrier = threading.Barrier(2, timeout=5)

    def parent() -> list[int]:
        children = [pool.submit(barrier.wait) for _ in range(2)]
        return sorted(child.result(5) for child in children)

    assert pool.submit(parent).result(5) == [0, 1]


def test_a_nested_task_without_a_free_thread_runs_where_it_is_waited_for(pool_of: PoolOf) -> None:
    """It is queued, so ``submit`` returns at once; the only thread runs it when asked for it."""
    pool = pool_of(1)

    def parent() -> tuple[bool, bool]:
        same = pool.submit(threading.get_ident)
        queued = not same.done()
        error = pool.submit(int, "no number")
        assert isinstance(error.exception(0), ValueError)
        return queued, same.result(0) == threading.get_ident()

    assert pool.submit(parent).result(5) == (True, True)


@pytest.mark.parametrize("max_workers", [1, 3])
def test_a_chain_of_tasks_may_be_of_any_length(pool_of: PoolOf, max_workers: int) -> None:
    """Each submits the next and returns, in more steps than a stack has frames."""
    pool, length, ended = pool_of(max_workers, max_queue=1), 3_000, threading.Event()
    gone: list[int] = []

    def step(n: int) -> None:
        gone.append(n)
        if n < length:
            pool.submit(step, n + 1)
        else:
            ended.set()

    pool.submit(step, 1)
    assert ended.wait(30)
    assert gone == list(range(1, length + 1))
    assert pool.drain(30) == []


def test_a_task_may_submit_under_a_lock_that_its_child_needs(pool_of: PoolOf) -> None:
    """On the only thread: the child begins after ``submit`` has returned."""
    pool, lock = pool_of(1), threading.Lock()

    def child() -> str:
        with lock:
            return "held"

    def parent() -> str:
        with lock:
            submitted = pool.submit(child)
        return submitted.result(5)

    assert pool.submit(parent).result(5) == "held"


def test_waiting_for_nested_tasks_adds_a_thread_only_while_it_lasts(pool_of: PoolOf) -> None:
    """A compensating thread runs what the blocked one waits for, and ends."""
    pool = pool_of(1)

    def parent() -> tuple[int, int]:
        first = pool.submit(threading.get_ident)
        wait([first], timeout=5)
        return first.result(0), threading.get_ident()

    child, own = pool.submit(parent).result(5)
    assert child != own
    assert pool.submit(threading.get_ident).result(5) == own


def test_an_iterator_over_nested_tasks_that_is_dropped_counts_as_waiting_no_more(
    pool_of: PoolOf,
) -> None:
    """``as_completed`` is left after its first result, again and again."""
    pool = pool_of(1)

    def parent() -> int:
        return next(as_completed([pool.submit(int, i) for i in range(3)], timeout=5)).result(0)

    for _ in range(5):
        assert pool.submit(parent).result(5) in range(3)
    assert pool.drain(5) == []
    assert pool._pool._threads.blocked == 0


def test_a_failure_that_no_caller_asks_for_is_logged(
    pool_of: PoolOf, caplog: pytest.LogCaptureFixture
) -> None:
    """As of a background task; one whose result was read raises in its caller."""
    pool = pool_of(1)
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 1, 0).result(5)
    assert isinstance(pool.submit(divmod, 1, 0).exception(5), ZeroDivisionError)
    pool.shutdown()
    gc.collect()
    assert caplog.records == []
    pool = pool_of(1)
    pool.submit(divmod, 1, 0)
    pool.shutdown()
    gc.collect()
    (record,) = caplog.records
    assert record.getMessage().startswith("Task 'divmod' of 'threads' failed")
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_nested_tasks_never_stand_behind_outside_ones(pool_of: PoolOf, occupy: Occupy) -> None:
    """With the queue full of others' work a task neither waits for it nor is refused."""
    pool = pool_of(2, max_queue=3)
    gate = occupy(pool, 1)
    entered, go_on = threading.Event(), threading.Event()

    def parent() -> list[int]:
        entered.set()
        assert go_on.wait(5)
        return [pool.submit(int, 1).result(5), *pool.map(int, "23")]

    family = pool.submit(parent)
    assert entered.wait(5)
    others = [pool.submit(int) for _ in range(3)]
    go_on.set()
    assert family.result(5) == [1, 2, 3]
    gate.set()
    assert wait(others, timeout=5).not_done == set()


def test_a_task_may_consume_a_map_that_was_started_outside(pool_of: PoolOf) -> None:
    """The only thread waits for calls that no other thread could run: it runs them itself."""
    pool, entered, gate = pool_of(1), threading.Event(), threading.Event()

    def call(i: int) -> int:
        entered.set()
        assert gate.wait(5)
        return i * i

    results = pool.map(call, range(10))
    assert entered.wait(5)
    total = pool.submit(sum, results)
    gate.set()
    assert total.result(5) == sum(i * i for i in range(10))


def test_a_task_may_wait_for_a_task_submitted_before_it(pool_of: PoolOf, occupy: Occupy) -> None:
    """First come, first served holds for outside work, so chains of it end."""
    pool = pool_of(1)
    gate = occupy(pool, 1)
    chain: list[Future[int]] = [pool.submit(int)]
    for _ in range(10):
        chain.append(pool.submit(lambda before: before.result(5) + 1, chain[-1]))
    gate.set()
    assert chain[-1].result(5) == 10


def test_a_nested_map_nobody_consumes_runs_all_the_same(pool_of: PoolOf) -> None:
    """As in the standard library: what was handed in is done."""
    pool, seen = pool_of(1), list[int]()
    pool.submit(pool.map, seen.append, range(20)).result(5)
    pool.shutdown()
    assert seen == list(range(20))


def test_two_pools_nested_in_one_another_do_not_share_threads(pool_of: PoolOf) -> None:
    """A task of one is outside work to the other, and its bound on threads holds."""
    first, second = pool_of(1, name="first"), pool_of(1, name="second")

    def parent() -> str:
        return second.submit(threading.current_thread).result(5).name

    assert first.submit(parent).result(5).startswith("second")


@pytest.mark.parametrize("by_map", [False, True])
def test_tasks_that_nest_for_ever_fail_and_leave_nothing_behind(
    pool_of: PoolOf, by_map: bool
) -> None:
    """Wherever on the way the stack is used up, be it in the pool's own code."""
    pool = pool_of(2)

    def nest(frames: int = 0) -> object:
        if frames:
            return nest(frames - 1)
        return list(pool.map(nest, [0])) if by_map else pool.submit(nest).result()

    for frames in range(20):
        with pytest.raises(RecursionError):
            pool.submit(nest, frames).result(30)
    assert list(pool.map(abs, range(-20, 0))) == list(range(20, 0, -1))
    assert pool.drain(30) == []
