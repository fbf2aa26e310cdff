"""With ``when_full="wait"`` a full queue has its callers wait for a slot."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from event_loops import until_idle
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.runtime.deadline import Deadline, within
from flask_concurrency.testing.manual_timekeeper import ManualTimekeeper
from flask_concurrency.vocabulary.errors import DeadlineExceeded, ExecutorShutdown, QueueFull

PoolOf = Callable[..., ThreadExecutor]
Occupy = Callable[[ThreadExecutor, int], threading.Event]
Aside = Callable[..., "Future[Any]"]


@pytest.fixture
def aside() -> Iterator[Aside]:
    """Call a function on a new thread, and give the future of its result."""
    threads: list[threading.Thread] = []

    def call(fn: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(fn(*args))
            except BaseException as error:
                future.set_exception(error)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return future

    yield call
    for thread in threads:
        thread.join()


@pytest.fixture
def time() -> ManualTimekeeper:
    return ManualTimekeeper()


@pytest.fixture
def full(
    pool_of: PoolOf, occupy: Occupy, time: ManualTimekeeper
) -> tuple[ThreadExecutor, threading.Event]:
    """One busy thread and one task in the queue, which holds no more; and what ends the first."""
    pool = pool_of(1, max_queue=1, when_full="wait", clock=time.clock, timekeeper=time)
    gate = occupy(pool, 1)
    pool.submit(int)
    return pool, gate


def stand(pool: ThreadExecutor, count: int) -> None:
    """Return when so many callers stand in line."""
    give_up = threading.Event()
    for _ in range(3_000):
        if pool.snapshot().waiting == count:
            return
        give_up.wait(0.01)
    raise AssertionError(pool.snapshot())


def test_a_caller_waits_for_a_place(
    full: tuple[ThreadExecutor, threading.Event], aside: Aside
) -> None:
    """It is admitted when the thread takes the task before it; no caller is refused."""
    pool, gate = full
    submitted = aside(pool.submit, int, "7")
    stand(pool, 1)
    assert not submitted.done()
    gate.set()
    assert submitted.result(30).result(30) == 7
    pool.shutdown()
    assert (pool.snapshot().refused, pool.snapshot().waiting) == (0, 0)


def test_places_go_to_whoever_has_waited_longest(
    full: tuple[ThreadExecutor, threading.Event], aside: Aside
) -> None:
    """First come, first served, by whatever way they came."""
    pool, gate = full
    order: list[int] = []
    ways: list[Callable[[], object]] = [
        lambda: pool.submit(order.append, 0),
        lambda: pool.spawn(order.append, 1),
        lambda: list(pool.map(order.append, [2])),
        lambda: asyncio.run(pool.run(order.append, 3)),
    ]
    calls = []
    for n, way in enumerate(ways):
        calls.append(aside(way))
        stand(pool, n + 1)
    gate.set()
    for call in calls:
        call.result(30)
    pool.shutdown()
    assert order == [0, 1, 2, 3]


def test_a_place_that_is_given_back_lets_the_next_in(
    pool_of: PoolOf, occupy: Occupy, aside: Aside
) -> None:
    """While the thread is busy: a cancelled task makes room."""
    pool = pool_of(1, max_queue=1, when_full="wait")
    gate = occupy(pool, 1)
    queued = pool.submit(int)
    submitted = aside(pool.submit, int, "7")
    stand(pool, 1)
    queued.cancel()
    future = submitted.result(30)
    assert not future.done()
    gate.set()
    assert future.result(30) == 7


def test_waiting_ends_with_the_deadline(
    full: tuple[ThreadExecutor, threading.Event], aside: Aside, time: ManualTimekeeper
) -> None:
    """By every way in; the task never starts."""
    pool, gate = full
    ran: list[int] = []
    deadline = Deadline(time.clock() + 2.0)

    def call(way: Callable[[], object]) -> object:
        with deadline:
            return way()

    calls = [
        aside(call, lambda: pool.submit(ran.append, 1)),
        aside(call, lambda: pool.map(ran.append, [1, 2, 3])),
        aside(call, lambda: asyncio.run(pool.run(ran.append, 1))),
    ]
    stand(pool, 3)
    time.advance(2.0)
    for waiting in calls:
        with pytest.raises(DeadlineExceeded):
            waiting.result(30)
    assert pool.snapshot().waiting == 0
    assert len(time) == 0
    gate.set()
    pool.shutdown()
    assert ran == []


def test_a_shutdown_ends_all_waiting(
    full: tuple[ThreadExecutor, threading.Event], aside: Aside
) -> None:
    """They were not accepted, so they are refused."""
    pool, _ = full
    calls = [aside(pool.submit, int), aside(lambda: list(pool.map(int, "12")))]
    stand(pool, 2)
    pool.shutdown(wait=False)
    for waiting in calls:
        with pytest.raises(ExecutorShutdown):
            waiting.result(30)
    assert pool.snapshot().waiting == 0


def test_a_map_waits_once_and_then_keeps_its_place(
    full: tuple[ThreadExecutor, threading.Event], aside: Aside
) -> None:
    """However long it is."""
    pool, gate = full
    results = aside(lambda: list(pool.map(int, range(50))))
    stand(pool, 1)
    gate.set()
    assert results.result(30) == list(range(50))


def test_a_task_of_its_own_never_waits(full: tuple[ThreadExecutor, threading.Event]) -> None:
    """It would wait for itself: its tasks run in its thread, and what it spawns is refused."""
    pool, gate = full
    gate.set()

    def parent() -> int:
        first = pool.submit(int, "1")
        while pool.snapshot().queued == 0:
            pool.spawn(int)
        with pytest.raises(QueueFull):
            pool.spawn(int)
        return first.result(0) + pool.submit(int, "2").result(0) + sum(pool.map(int, "34"))

    assert pool.submit(parent).result(30) == 10


def test_an_event_loop_is_never_kept_waiting(
    full: tuple[ThreadExecutor, threading.Event], loop: LoopThread
) -> None:
    """What would block it refuses, and says what to write; ``run`` waits and lets it go on."""
    pool, gate = full

    async def main() -> str:
        for blocking in (pool.submit, pool.spawn, lambda fn: pool.map(fn, "1")):
            with pytest.raises(QueueFull, match=r"event loop .* 'await threads.run"):
                blocking(int)
        waiting = asyncio.create_task(pool.run(str, 7))
        await until_idle()
        assert pool.snapshot().waiting == 1
        gate.set()
        return await waiting

    assert loop.run(main()) == "7"
    assert pool.snapshot().refused == 3


def test_an_awaiting_caller_that_is_cancelled_leaves_the_line(
    full: tuple[ThreadExecutor, threading.Event], loop: LoopThread
) -> None:
    """Its task never starts, and the caller behind it is admitted."""
    pool, gate = full
    ran: list[int] = []

    async def main() -> None:
        first = asyncio.create_task(pool.run(ran.append, 1))
        second = asyncio.create_task(pool.run(ran.append, 2))
        await until_idle()
        assert pool.snapshot().waiting == 2
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert pool.snapshot().waiting == 1
        gate.set()
        await second

    loop.run(main())
    assert ran == [2]


def test_a_queue_of_none_waits_for_a_free_thread(
    pool_of: PoolOf, occupy: Occupy, aside: Aside
) -> None:
    """``max_queue=0``: from the hand of the caller into that of a thread."""
    pool = pool_of(1, max_queue=0, when_full="wait")
    gate = occupy(pool, 1)
    submitted = aside(pool.submit, int, "7")
    stand(pool, 1)
    gate.set()
    assert submitted.result(30).result(30) == 7


def test_many_callers_get_through_a_narrow_queue(pool_of: PoolOf, aside: Aside) -> None:
    """Nothing is lost, and no caller is forgotten in line."""
    pool = pool_of(2, max_queue=1, when_full="wait")

    def hand_in(first: int) -> int:
        return sum(pool.submit(int, n).result(30) for n in range(first, first + 20))

    callers = [aside(hand_in, first) for first in range(0, 160, 20)]
    assert sum(caller.result(30) for caller in callers) == sum(range(160))
    with within(30.0):
        assert sum(pool.map(int, range(100))) == sum(range(100))
