"""Each thread of a pool is prepared before its first task, or the pool takes none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from concurrent.futures.thread import BrokenThreadPool

import pytest

from flask_concurrency import ConfigurationError
from flask_concurrency.executors.threads import ThreadExecutor

PoolOf = Callable[..., ThreadExecutor]


def test_the_initializer_runs_in_each_thread_before_its_first_task(pool_of: PoolOf) -> None:
    """With its arguments, once a thread."""
    local, met = threading.local(), threading.Barrier(2, timeout=30)

    def prepare(value: str) -> None:
        local.values = [*getattr(local, "values", ()), value]

    def task(_: int) -> list[str]:
        met.wait()
        values: list[str] = local.values
        return values

    pool = pool_of(2, initializer=prepare, initargs=("ready",))
    assert list(pool.map(task, range(4))) == [["ready"]] * 4


def test_threads_are_named_after_the_prefix(pool_of: PoolOf) -> None:
    """As in the standard library; without one, after the pool."""
    prefixed, plain = pool_of(1, thread_name_prefix="mail"), pool_of(1, name="reports")
    assert prefixed.submit(threading.current_thread).result(30).name == "mail_1"
    assert plain.submit(threading.current_thread).result(30).name == "reports_1"


def test_an_initializer_that_raises_breaks_the_pool(
    pool_of: PoolOf, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits fails and what comes is refused, as the standard library's pools do."""
    entered = threading.Event()

    def fail() -> None:
        assert entered.wait(30)
        raise OSError("no database")

    pool = pool_of(1, initializer=fail)
    waiting = [pool.submit(int) for _ in range(3)]
    entered.set()
    for future in waiting:
        with pytest.raises(BrokenThreadPool, match="its initializer raised OSError"):
            future.result(30)
    for use in (pool.submit, pool.spawn):
        with pytest.raises(BrokenExecutor, match="make a new executor"):
            use(int)
    with pytest.raises(BrokenExecutor):
        pool.map(int, "12")
    assert "The initializer of 'threads' raised" in caplog.text


def test_an_initializer_is_something_to_call() -> None:
    """Else it is refused where it is written."""
    with pytest.raises(ConfigurationError, match="initializer='x'"):
        ThreadExecutor(initializer="x")  # type: ignore[arg-type]
