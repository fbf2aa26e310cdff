"""Corners of the executor contract that CPython's own tests walk through."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, as_completed, wait
from typing import Any

import pytest

from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.vocabulary.errors import ExecutorShutdown

PoolOf = Callable[..., ThreadExecutor]
Occupy = Callable[[ThreadExecutor, int], threading.Event]


def test_a_call_needs_a_function(pool_of: PoolOf) -> None:
    """A mistake in the call of ``submit`` is raised there."""
    with pytest.raises(TypeError):
        pool_of().submit()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        pool_of().spawn()  # type: ignore[call-arg]


def test_what_cannot_be_called_fails_in_the_future(pool_of: PoolOf) -> None:
    """As any other error of the call."""
    assert isinstance(pool_of().submit(3).exception(30), TypeError)  # type: ignore[arg-type]


def test_a_map_of_nothing_is_empty(pool_of: PoolOf) -> None:
    """And starts no thread."""
    pool = pool_of()
    assert list(pool.map(int)) == list(pool.map(int, [])) == list(pool.map(pow, [], [1])) == []
    assert pool.snapshot().workers == 0


def test_a_map_raises_an_error_where_its_result_would_be(pool_of: PoolOf) -> None:
    """The results before it are there, whichever call ends first."""
    results = pool_of().map(divmod, [1, 1, 1], [1, 0, 1])
    assert next(results) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_a_map_without_time_raises_at_once(pool_of: PoolOf, occupy: Occupy) -> None:
    """A timeout of zero is a timeout; what is done already can be had."""
    pool = pool_of(1)
    occupy(pool, 1)
    with pytest.raises(TimeoutError):
        next(pool.map(int, [1], timeout=0))


def test_chunksize_is_taken_and_has_no_effect(pool_of: PoolOf) -> None:
    """As in the standard library's pool of threads."""
    assert list(pool_of().map(int, "12345", chunksize=3)) == [1, 2, 3, 4, 5]


def test_wait_returns_at_the_first_exception(pool_of: PoolOf) -> None:
    """While others still run."""
    pool = pool_of(2)
    gate = threading.Event()
    running: Future[Any] = pool.submit(gate.wait, 30)
    failing: Future[Any] = pool.submit(int, "x")
    done, not_done = wait([running, failing], timeout=30, return_when=FIRST_EXCEPTION)
    gate.set()
    assert (done, not_done) == ({failing}, {running})


def test_as_completed_gives_each_future_once(pool_of: PoolOf, occupy: Occupy) -> None:
    """Duplicates, futures that were done before, and those that time runs out for."""
    pool = pool_of(1)
    before = pool.submit(int)
    before.result(30)
    gate = occupy(pool, 1)
    later = pool.submit(int)
    with pytest.raises(TimeoutError, match=r"1 \(of 2\) futures unfinished"):
        list(as_completed([before, later, before], timeout=0))
    gate.set()
    assert list(as_completed([later, later], timeout=30)) == [later]


def test_callbacks_run_once_each_in_their_order(pool_of: PoolOf, occupy: Occupy) -> None:
    """Those added afterwards at once, and one that raises keeps none from running."""
    pool, called = pool_of(1), list[int]()
    gate = occupy(pool, 1)
    future: Future[int] = pool.submit(int)

    def fail(_: Future[int]) -> None:
        called.append(2)
        raise LookupError

    future.add_done_callback(lambda _: called.append(1))
    future.add_done_callback(fail)
    future.add_done_callback(lambda _: called.append(3))
    gate.set()
    pool.shutdown()
    future.add_done_callback(lambda _: called.append(4))
    assert called == [1, 2, 3, 4]


def test_a_future_can_be_cancelled_once_and_stays_so(pool_of: PoolOf, occupy: Occupy) -> None:
    """A second time says the same, and one that is done cannot be any more."""
    pool = pool_of(1)
    gate = occupy(pool, 1)
    queued = pool.submit(int)
    assert queued.cancel()
    assert queued.cancel()
    gate.set()
    done = pool.submit(int)
    done.result(30)
    assert not done.cancel()
    assert (queued.cancelled(), done.cancelled(), queued.done()) == (True, False, True)


def test_a_block_that_fails_waits_for_its_tasks_all_the_same() -> None:
    """``__exit__`` shuts down, and lets the error pass."""
    gate, ended = threading.Event(), list[int]()

    def work() -> None:
        assert gate.wait(30)
        ended.append(1)

    def block() -> None:
        with ThreadExecutor(1) as pool:
            pool.submit(work)
            gate.set()
            raise LookupError

    with pytest.raises(LookupError):
        block()
    assert ended == [1]


def test_many_may_shut_down_at_once(pool_of: PoolOf, occupy: Occupy) -> None:
    """All return when the work has ended."""
    pool = pool_of(2)
    gate = occupy(pool, 2)
    pool.submit(int)
    closing = [threading.Thread(target=pool.shutdown) for _ in range(4)]
    for thread in closing:
        thread.start()
    gate.set()
    for thread in closing:
        thread.join(30)
        assert not thread.is_alive()
    assert pool.snapshot().done == 3


def test_work_is_done_or_refused_while_a_pool_closes(pool_of: PoolOf) -> None:
    """Threads that submit without pause get a future that ends, or an error; nothing is lost."""
    pool, accepted, going = pool_of(2), list[Future[int]](), threading.Event()

    def submit() -> None:
        try:
            while True:
                accepted.append(pool.submit(int, "7"))
                assert accepted[-1].result(30) == 7
                going.set()
        except ExecutorShutdown:
            pass

    submitters = [threading.Thread(target=submit) for _ in range(3)]
    for thread in submitters:
        thread.start()
    assert going.wait(30)
    pool.shutdown()
    for thread in submitters:
        thread.join(30)
        assert not thread.is_alive()
    assert {future.result(0) for future in accepted} == {7}


def test_a_callback_may_submit(pool_of: PoolOf) -> None:
    """It runs in a thread of the pool, and counts as a task there."""
    pool = pool_of(1)
    chained: Future[Any] = Future()

    def go_on(future: Future[int]) -> None:
        chained.set_result(pool.submit(int, future.result()).result(30))

    pool.submit(int, "7").add_done_callback(go_on)
    assert chained.result(30) == 7
