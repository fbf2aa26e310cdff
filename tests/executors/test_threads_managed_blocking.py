"""Threads that wait for an event loop never keep that loop waiting for a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from event_loops import until, until_idle
from flask_concurrency.executors.groups import TaskGroup
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.threads import ThreadExecutor

PoolOf = Callable[..., ThreadExecutor]
Occupy = Callable[[ThreadExecutor, int], threading.Event]


def test_pitfall_21_a_task_may_wait_for_a_coroutine_that_needs_a_thread(pool_of: PoolOf) -> None:
    """Every thread of the pool does so at once, and none is left for their coroutines."""
    pool = pool_of(2)
    loop = LoopThread(default_executor=pool)
    all_busy = threading.Barrier(2, timeout=30)

    async def needs_a_thread(n: int) -> int:
        return await pool.run(int, n) + await asyncio.to_thread(int, n)

    def task(n: int) -> int:
        all_busy.wait()
        return loop.run(needs_a_thread(n))

    assert list(pool.map(task, [1, 2], timeout=30)) == [2, 4]
    assert loop.shutdown()


def test_pitfall_21_a_coroutine_that_holds_what_threads_wait_for_gets_a_thread(
    pool_of: PoolOf, loop: LoopThread
) -> None:
    """It was queued before they began to wait: an async view with a lock that they need, too."""
    pool = pool_of(2)
    all_busy, go_on = threading.Barrier(3, timeout=30), threading.Event()

    async def make_lock() -> asyncio.Lock:
        return asyncio.Lock()

    lock = loop.run(make_lock())

    async def view() -> int:
        async with lock:
            queued = asyncio.ensure_future(pool.run(int, "7"))
            await until_idle()
            go_on.set()
            return await queued

    async def needs_the_lock() -> None:
        async with lock:
            pass

    def task() -> None:
        all_busy.wait()
        assert go_on.wait(30)
        loop.run(needs_the_lock())

    tasks = [pool.submit(task) for _ in range(2)]
    all_busy.wait()
    behind = pool.submit(int, "8")
    viewed = loop.spawn(view())
    assert viewed.result(30) == 7
    assert [each.result(30) for each in tasks] == [None, None]
    assert behind.result(30) == 8


def test_pitfall_21_threads_and_loop_may_wait_for_each_other_at_any_depth(
    pool_of: PoolOf, loop: LoopThread
) -> None:
    """Thread, coroutine, thread, coroutine, three at each step, on a single thread."""
    pool = pool_of(1, max_queue=2, when_full="wait")

    async def fan_out(depth: int) -> int:
        return sum(await asyncio.gather(*(pool.run(task, depth - 1) for _ in range(3))))

    def task(depth: int) -> int:
        return 1 if depth == 0 else loop.run(fan_out(depth))

    assert pool.submit(task, 4).result(30) == 3**4


def test_other_work_does_not_multiply_threads(pool_of: PoolOf, loop: LoopThread) -> None:
    """A hundred tasks that wait for the loop, for nothing that needs a thread: two at a time."""
    pool = pool_of(2)
    at_once: list[int] = []

    async def look() -> None:
        at_once.append(pool.snapshot().workers)

    list(pool.map(lambda _: loop.run(look()), range(100)))
    assert max(at_once) <= 2


def test_no_more_than_max_workers_are_at_work(pool_of: PoolOf, loop: LoopThread) -> None:
    """Those that wait for the loop not counted; the rest stands in the queue as ever."""
    pool = pool_of(2)
    lock, now, most = threading.Lock(), [0], [0]
    meet = threading.Barrier(2, timeout=30)

    def work(first: bool) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        if first:
            meet.wait()  # two are at work at once, at least here
        with lock:
            now[0] -= 1

    async def fan_out() -> None:
        await asyncio.gather(*(pool.run(work, n < 2) for n in range(50)))

    def task() -> None:
        loop.run(fan_out())

    pool.submit(task).result(30)
    assert most == [2]


def test_a_spare_thread_goes_when_it_is_not_needed(pool_of: PoolOf, loop: LoopThread) -> None:
    """Afterwards there are as many threads as before, and the bound is what it was."""
    pool = pool_of(1)

    async def needs_a_thread() -> threading.Thread:
        return await pool.run(threading.current_thread)

    def task() -> tuple[threading.Thread, threading.Thread]:
        return threading.current_thread(), loop.run(needs_a_thread())

    lender, spare = pool.submit(task).result(30)
    assert lender is not spare
    spare.join(30)
    assert (pool.snapshot().workers, pool.snapshot().busy) == (1, 0)
    assert pool.submit(threading.current_thread).result(30) is lender


def test_a_spare_runs_only_what_came_from_a_loop(
    pool_of: PoolOf, loop: LoopThread, occupy: Occupy
) -> None:
    """What others handed in before keeps its turn among its own."""
    pool = pool_of(1)
    order: list[str] = []
    entered, go_on = threading.Event(), threading.Event()

    async def needs_a_thread() -> None:
        await pool.run(order.append, "from the loop")

    def task() -> None:
        entered.set()
        assert go_on.wait(30)
        loop.run(needs_a_thread())
        order.append("the task")

    tasks = [pool.submit(task)]
    assert entered.wait(30)
    tasks += [pool.submit(order.append, "from outside")]
    go_on.set()
    for each in tasks:
        each.result(30)
    assert order == ["from the loop", "the task", "from outside"]


def test_a_task_waiting_for_a_spawned_coroutine_lends_as_well(
    pool_of: PoolOf, loop: LoopThread
) -> None:
    """``loop.spawn(…).result()`` is the same wait."""
    pool = pool_of(1)

    async def needs_a_thread() -> int:
        return await pool.run(int, "7")

    assert pool.submit(lambda: loop.spawn(needs_a_thread()).result(30)).result(30) == 7
    assert pool.submit(lambda: loop.spawn(needs_a_thread()).exception(30)).result(30) is None


def test_a_drain_takes_what_its_own_tasks_need_by_way_of_the_loop(
    pool_of: PoolOf, loop: LoopThread
) -> None:
    """It is part of the work that was accepted."""
    pool = pool_of(1)
    begun, go_on = threading.Event(), threading.Event()

    async def needs_a_thread() -> int:
        return await pool.run(int, "7")

    def task() -> int:
        begun.set()
        assert go_on.wait(30)
        return loop.run(needs_a_thread())

    future = pool.submit(task)
    assert begun.wait(30)
    pool._pool._closed = pool._pool._draining = True
    go_on.set()
    assert future.result(30) == 7


def test_a_compensating_thread_that_cannot_start_is_logged(
    pool_of: PoolOf,
    loop: LoopThread,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The limit of threads of the system is the one thing that no rule gets around."""
    pool = pool_of(1)
    tried = threading.Event()

    def refuse(thread: threading.Thread) -> None:
        tried.set()
        raise RuntimeError("can't start new thread")

    async def needs_a_thread() -> str:
        waiting = asyncio.ensure_future(pool.run(int))
        await until(tried.is_set)
        waiting.cancel()
        return "told"

    pool.submit(int).result(30)
    loop.run(asyncio.sleep(0))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert pool.submit(lambda: loop.run(needs_a_thread())).result(30) == "told"
    assert "'threads' cannot start a compensating thread" in caplog.text


@pytest.mark.parametrize("ask", [True, False])
def test_pitfall_21_a_task_may_wait_for_a_group_on_the_loop(
    pool_of: PoolOf, loop: LoopThread, ask: bool
) -> None:
    """For one task of it, and at the end of its block."""
    pool = pool_of(1)

    async def needs_a_thread() -> int:
        return await pool.run(int, "7")

    def task() -> int:
        with TaskGroup({"threads": pool}.__getitem__, loop) as group:
            member = group.loop.submit(needs_a_thread)
            if ask:
                assert member.result(30) == 7
        return member.result(30)

    assert pool.submit(task).result(30) == 7
