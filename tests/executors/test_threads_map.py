"""``map`` on threads: ordered, eager, longer than the queue, and over at the first error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.vocabulary.errors import ExecutorShutdown

PoolOf = Callable[..., ThreadExecutor]
Occupy = Callable[[ThreadExecutor, int], threading.Event]


def test_results_come_in_the_order_of_the_items(pool_of: PoolOf) -> None:
    """Also when later calls end first; the shortest iterable counts."""
    first_done = threading.Event()

    def call(i: int, letter: str) -> str:
        if i == 0:
            assert first_done.wait(5)
        if i == 2:
            first_done.set()
        return f"{i}{letter}"

    assert list(pool_of(3).map(call, range(9), "abc", chunksize=2)) == ["0a", "1b", "2c"]


def test_calls_start_before_anybody_consumes(pool_of: PoolOf) -> None:
    """All threads are at work when ``map`` has returned, and the rest follows by itself."""
    pool = pool_of(2)
    barrier, last = threading.Barrier(2, timeout=5), threading.Event()

    def call(i: int) -> None:
        barrier.wait()
        if i == 9:
            last.set()

    pool.map(call, range(10))
    assert last.wait(5)


def test_a_map_may_be_ten_times_as_long_as_the_queue(pool_of: PoolOf) -> None:
    """It takes as many slots as there are threads, and a next call takes over its slot."""
    pool = pool_of(2, max_queue=5)
    assert list(pool.map(lambda i: i + 1, range(50))) == list(range(1, 51))
    assert pool.snapshot().refused == 0


def test_a_map_takes_the_places_there_are(pool_of: PoolOf, occupy: Occupy) -> None:
    """One free slot is enough for any number of calls."""
    pool = pool_of(3, max_queue=2)
    gate = occupy(pool, 3)
    other = pool.submit(int)
    results = pool.map(int, range(20))
    assert pool.snapshot().queued == 2
    gate.set()
    assert list(results) == list(range(20))
    assert other.result(5) == 0


def test_a_long_map_does_not_starve_others(pool_of: PoolOf, occupy: Occupy) -> None:
    """Work submitted after it gets its turn between its calls, not behind the last one."""
    pool = pool_of(1)
    gate, order = occupy(pool, 1), list[str]()
    results = pool.map(lambda i: order.append(f"map {i}"), range(20))
    other = pool.submit(order.append, "other")
    gate.set()
    other.result(5)
    list(results)
    assert order.index("other") == 1


def test_the_first_error_ends_a_map(pool_of: PoolOf, occupy: Occupy) -> None:
    """It is raised instead of its result; what has not started never does."""
    pool, seen = pool_of(1), list[int]()

    def call(i: int) -> int:
        seen.append(i)
        return 10 // (3 - i)

    gate = occupy(pool, 1)
    results = pool.map(call, range(1_000), buffersize=5)
    gate.set()
    assert [next(results) for _ in range(3)] == [3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    pool.shutdown()
    assert len(seen) < 10


def test_closing_the_results_cancels_the_rest(pool_of: PoolOf) -> None:
    """A consumer that leaves early takes its queued calls along."""
    pool, second, gate = pool_of(1), threading.Event(), threading.Event()
    seen: list[int] = []

    def call(i: int) -> int:
        seen.append(i)
        if i == 1:
            second.set()
            assert gate.wait(5)
        return i

    results = pool.map(call, range(100))
    assert next(results) == 0
    assert second.wait(5)
    assert isinstance(results, Iterator)
    results.close()  # type: ignore[attr-defined]
    gate.set()
    pool.shutdown()
    assert seen == [0, 1]
    assert pool.snapshot().cancelled == 98


def test_a_timeout_counts_from_the_call_of_map(pool_of: PoolOf, occupy: Occupy) -> None:
    """What is not there in time raises TimeoutError, and frees its slot in the queue."""
    pool = pool_of(1)
    occupy(pool, 1)
    results = pool.map(int, range(3), timeout=0.001)
    with pytest.raises(TimeoutError):
        next(results)
    assert pool.snapshot().queued == 0
    assert pool.snapshot().cancelled == 3


def test_a_buffered_map_takes_items_as_results_are_consumed(pool_of: PoolOf) -> None:
    """At most ``buffersize`` ahead, and in the consumer's thread: the source may be endless."""
    taken: list[int] = []
    threads: set[int] = set()

    def numbers() -> Iterator[int]:
        for i in range(10**9):
            taken.append(i)
            threads.add(threading.get_ident())
            yield i

    pool = pool_of(2, max_queue=1)
    results = pool.map(lambda i: i * i, numbers(), buffersize=3)
    assert len(taken) == 3
    assert [next(results) for _ in range(30)] == [i * i for i in range(30)]
    assert len(taken) == 33
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize(("buffersize", "error"), [("3", TypeError), (2.0, TypeError)])
def test_a_buffersize_is_a_whole_number(
    pool_of: PoolOf, buffersize: int, error: type[Exception]
) -> None:
    """The errors are those of Python 3.14."""
    with pytest.raises(error):
        pool_of().map(int, [1], buffersize=buffersize)


def test_a_buffersize_is_at_least_one(pool_of: PoolOf) -> None:
    """None is the word for all at once."""
    with pytest.raises(ValueError, match="buffersize must be None or > 0"):
        pool_of().map(int, [1], buffersize=0)


def test_items_are_taken_at_once(pool_of: PoolOf, occupy: Occupy) -> None:
    """In the calling thread, before ``map`` returns: they may need the caller's context."""
    pool = pool_of(1, max_queue=2)
    gate = occupy(pool, 1)
    items = iter(range(50))
    results = pool.map(int, items)
    assert list(items) == []
    gate.set()
    assert sum(results) == sum(range(50))


def test_an_error_among_the_items_is_raised_before_anything_starts(pool_of: PoolOf) -> None:
    """Nothing is half done when the list of things to do cannot be made."""
    pool = pool_of()

    def numbers() -> Iterator[int]:
        yield 1
        raise LookupError

    with pytest.raises(LookupError):
        pool.map(int, numbers())
    assert pool.snapshot().workers == 0


def test_a_buffered_map_ends_with_its_pool(pool_of: PoolOf) -> None:
    """The next item would be new work."""
    pool = pool_of(1)
    results = pool.map(int, range(5), buffersize=2)
    pool.shutdown()
    with pytest.raises(ExecutorShutdown):
        next(results)
