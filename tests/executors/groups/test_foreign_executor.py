"""Any executor gets deadlines and counts."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar
from multiprocessing import get_context
from typing import Any

import pytest

from flask_concurrency.executors.foreign_executor import ForeignExecutor, ForeignSnapshot
from flask_concurrency.runtime.deadline import within
from flask_concurrency.vocabulary.errors import DeadlineExceeded, ExecutorShutdown

SOON = 30.0
seen: ContextVar[str] = ContextVar("seen", default="nothing")


@pytest.fixture
def foreign(bench: Any) -> ForeignExecutor:
    """The executor that is run by hand, as one from outside the library."""
    return ForeignExecutor("far", bench.hand, call_at=bench.alarms.call_at)


def test_a_task_ends_as_it_does_on_the_executor(foreign: ForeignExecutor, bench: Any) -> None:
    """With its result, its error or its cancellation, all of which are counted."""
    futures: list[Future[Any]] = [foreign.submit(abs, number) for number in range(4)]
    assert foreign.snapshot() == ForeignSnapshot("HandExecutor", 4, 0, 0, 0, 0)
    assert "'far'" in repr(foreign)

    bench.hand.end(0, result="done")
    bench.hand.end(1, error=ValueError("no"))
    futures[2].cancel()

    assert futures[0].result() == "done"
    assert isinstance(futures[1].exception(), ValueError)
    assert futures[2].cancelled()
    assert foreign.snapshot() == ForeignSnapshot("HandExecutor", 1, 1, 1, 1, 0)


def test_a_task_fails_at_its_deadline(foreign: ForeignExecutor, bench: Any) -> None:
    """What has begun runs on over there, and is pending until it has ended."""
    with within(5, bench.clock):
        queued, begun = foreign.submit(abs, 1), foreign.submit(abs, 2)
    bench.hand.begin(1)

    bench.alarms.advance(5)

    for future in (queued, begun):
        with pytest.raises(DeadlineExceeded, match="'abs' had not ended on 'far'"):
            future.result()
    assert bench.hand.futures[0].cancelled()
    assert foreign.snapshot() == ForeignSnapshot("HandExecutor", 1, 0, 0, 0, 2)
    bench.hand.end(1, result="too late")
    assert foreign.snapshot().pending == 0


def test_a_task_that_ends_in_time_leaves_no_alarm(foreign: ForeignExecutor, bench: Any) -> None:
    """Nor does one that is refused."""
    with within(5, bench.clock):
        future = foreign.submit(abs, 1)
        bench.hand.submit = refuse
        with pytest.raises(OSError, match="no connection"):
            foreign.submit(abs, 2)
    bench.hand.end(0, result=1)

    assert future.result() == 1
    assert len(bench.alarms) == 0
    assert foreign.snapshot() == ForeignSnapshot("HandExecutor", 0, 1, 0, 0, 0)


def refuse(*args: Any) -> Future[Any]:
    raise OSError("no connection")


def test_a_foreign_pool_of_threads_takes_the_context_along() -> None:
    """The request above all."""
    seen.set("something")
    with ThreadPoolExecutor(1) as pool:
        assert ForeignExecutor("far", pool).submit(seen.get).result(SOON) == "something"
        assert list(ForeignExecutor("far", pool).map(abs, [-1, -2])) == [1, 2]


def test_what_is_shut_down_says_so(bench: Any) -> None:
    """As an error of ours, with the name that is known here."""
    foreign = ForeignExecutor("far", ThreadPoolExecutor(1))
    foreign.shutdown(cancel_futures=True)

    with pytest.raises(ExecutorShutdown, match="'far' was shut down"):
        foreign.submit(abs, 1)


def test_an_executor_that_cannot_cancel_at_its_end_is_shut_down_all_the_same() -> None:
    """``cancel_futures`` is younger than many an executor."""

    class Old(Executor):
        waited: bool | None = None

        def shutdown(self, wait: bool = True) -> None:  # type: ignore[override]
            self.waited = wait

    old = Old()
    ForeignExecutor("far", old).shutdown(wait=False)

    assert old.waited is False


def test_errors_that_are_no_shutdown_are_raised_as_they_are(bench: Any) -> None:
    """A broken pool is not one that was shut down."""

    def broken(*args: Any) -> Future[Any]:
        raise RuntimeError("the pool is broken")

    bench.hand.submit = broken
    with pytest.raises(RuntimeError, match="is broken"):
        ForeignExecutor("far", bench.hand).submit(abs, 1)


def test_a_group_waits_for_a_foreign_call_that_cannot_be_stopped(
    foreign: ForeignExecutor, bench: Any
) -> None:
    """At most until its deadline."""
    bench.executors["far"] = foreign
    with bench.failing(DeadlineExceeded, "#1 abs", timeout=5) as (group, _):
        group.executor("far").submit(abs, 1)
        bench.hand.begin(0)
        bench.alarms.advance(5)

    assert foreign.snapshot().pending == 1


@pytest.mark.slow
def test_processes_of_the_standard_library_get_the_arguments_only() -> None:
    """Nothing that cannot be pickled is taken along."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, within(SOON):
        foreign = ForeignExecutor("far", pool)
        assert foreign.submit(pow, 2, 10).result() == 1024
