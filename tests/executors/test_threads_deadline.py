"""A task's future is done at its deadline at the latest, whatever its thread is doing."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait

import pytest

from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.runtime.deadline import check_deadline, remaining, within
from flask_concurrency.runtime.timer_thread import Alarm
from flask_concurrency.testing.manual_timekeeper import ManualTimekeeper
from flask_concurrency.vocabulary.errors import DeadlineExceeded

PoolOf = Callable[..., ThreadExecutor]
Occupy = Callable[[ThreadExecutor, int], threading.Event]
LOGGER = "flask_concurrency.executors"


@pytest.fixture
def time() -> ManualTimekeeper:
    """Time that stands still until it is moved."""
    return ManualTimekeeper()


@pytest.fixture
def one(pool_of: PoolOf, time: ManualTimekeeper) -> ThreadExecutor:
    """One thread, on that time."""
    return pool_of(1, clock=time.clock, timekeeper=time)


class Hanging:
    """A task that has begun, and ends on command."""

    def __init__(self) -> None:
        self.begun, self.gate = threading.Event(), threading.Event()
        self.saw: float | None = None

    def __call__(self, time: ManualTimekeeper) -> str:
        self.begun.set()
        assert self.gate.wait(30)
        self.saw = remaining(time.clock)
        return "too late"

    def begin(self, pool: ThreadExecutor, time: ManualTimekeeper) -> Future[str]:
        future = pool.submit(self, time)
        assert self.begun.wait(30)
        return future


def test_pitfall_15_a_deadline_counts_from_submission(
    one: ThreadExecutor, time: ManualTimekeeper, occupy: Occupy
) -> None:
    """Time in the queue is time: the waiter gets the error on time, while the thread is busy."""
    occupy(one, 1)
    ran = threading.Event()
    with within(2.0, time.clock):
        early = one.submit(ran.set)
    time.advance(1.5)
    with within(2.0, time.clock):
        late = one.submit(int, "7")
    time.advance(0.5)
    assert early.done()
    assert not late.done()
    with pytest.raises(DeadlineExceeded, match=r"'Event.set' was dropped before it .*max_workers"):
        early.result(0)
    assert wait([early], timeout=0).done == {early}
    assert (one.snapshot().expired, one.snapshot().queued) == (1, 1)
    late.cancel()
    assert not ran.is_set()


def test_pitfall_20_an_expired_task_gives_its_place_back(
    pool_of: PoolOf, time: ManualTimekeeper, occupy: Occupy
) -> None:
    """At the instant, not only when a thread comes by."""
    pool = pool_of(1, max_queue=1, clock=time.clock, timekeeper=time)
    gate = occupy(pool, 1)
    with within(1.0, time.clock):
        expired = pool.submit(int)
    time.advance(1.0)
    assert isinstance(expired.exception(0), DeadlineExceeded)
    following = pool.submit(int, "7")
    gate.set()
    assert following.result(30) == 7


def test_a_running_task_fails_at_its_deadline_and_runs_on(
    one: ThreadExecutor, time: ManualTimekeeper, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts as overdue until it ends, and is logged then, once, by how much."""
    task = Hanging()
    with within(2.0, time.clock):
        future = task.begin(one, time)
    time.advance(1.9)
    assert one.snapshot().overdue == 0
    assert not future.done()
    time.advance(0.1)
    with pytest.raises(DeadlineExceeded, match="did not end by its deadline"):
        future.result(0)
    assert (one.snapshot().overdue, one.snapshot().busy) == (1, 1)
    time.advance(3.25)
    with caplog.at_level(logging.WARNING, LOGGER):
        task.gate.set()
        one.shutdown()
    assert [record.getMessage() for record in caplog.records] == [
        "'Hanging' ended in 'threads' 3.250 s after its deadline"
    ]
    assert task.saw == 0.0
    assert isinstance(future.exception(0), DeadlineExceeded)
    assert (one.snapshot().overdue, one.snapshot().failed) == (0, 1)


def test_a_task_that_stops_at_its_deadline_is_not_logged(
    one: ThreadExecutor, time: ManualTimekeeper, caplog: pytest.LogCaptureFixture
) -> None:
    """It did what it should."""
    begun, gate = threading.Event(), threading.Event()

    def polite() -> None:
        begun.set()
        assert gate.wait(30)
        check_deadline(time.clock)

    with within(1.0, time.clock):
        future = one.submit(polite)
    assert begun.wait(30)
    time.advance(1.0)
    gate.set()
    one.shutdown()
    assert isinstance(future.exception(0), DeadlineExceeded)
    assert caplog.records == []


def test_pitfall_13_a_thread_is_never_interrupted(
    one: ThreadExecutor, time: ManualTimekeeper
) -> None:
    """Nothing is raised in the task: it reaches its end, and its ``finally`` blocks are whole."""
    begun, gate = threading.Event(), threading.Event()
    reached: list[str] = []

    def work() -> None:
        try:
            begun.set()
            assert gate.wait(30)
            reached.append("the end")
        finally:
            reached.append("finally")

    with within(1.0, time.clock):
        future = one.submit(work)
    assert begun.wait(30)
    time.advance(5.0)
    assert not future.cancel()
    gate.set()
    one.shutdown()
    assert reached == ["the end", "finally"]


def test_pitfall_16_a_late_result_reaches_nobody(
    one: ThreadExecutor, time: ManualTimekeeper
) -> None:
    """Neither its own waiter, which already has an error, nor that of the next task."""
    task = Hanging()
    with within(1.0, time.clock):
        future = task.begin(one, time)
    following = one.submit(int, "7")
    time.advance(1.0)
    told = future.exception(0)
    task.gate.set()
    assert following.result(30) == 7
    assert future.exception(0) is told


def test_a_task_in_time_leaves_no_alarm(one: ThreadExecutor, time: ManualTimekeeper) -> None:
    """However it ends, and none is set where there is no deadline."""
    one.submit(int).result(30)
    assert len(time) == 0
    with within(5.0, time.clock):
        one.submit(int).result(30)
        assert isinstance(one.submit(int, "x").exception(30), ValueError)
        list(one.map(int, "123"))
        one.submit(lambda: one.submit(int).result(30)).result(30)
        one.shutdown()
        with pytest.raises(RuntimeError):
            one.submit(int)
    assert len(time) == 0


def test_a_cancelled_task_leaves_no_alarm(
    one: ThreadExecutor, time: ManualTimekeeper, occupy: Occupy
) -> None:
    """Nor one that a shutdown cancels."""
    occupy(one, 1)
    with within(5.0, time.clock):
        cancelled, shut_down = one.submit(int), one.submit(int)
        assert len(time) == 2
        cancelled.cancel()
        assert len(time) == 1
        one.shutdown(wait=False, cancel_futures=True)
    assert shut_down.cancelled()
    assert len(time) == 0


def test_what_comes_too_late_to_submit_is_not_queued(
    one: ThreadExecutor, time: ManualTimekeeper
) -> None:
    """Its future is done at once, and no thread is started for it."""
    with within(1.0, time.clock):
        time.advance(1.0)
        assert isinstance(one.submit(int).exception(0), DeadlineExceeded)
        with pytest.raises(DeadlineExceeded):
            next(one.map(int, "12"))
    assert one.snapshot().expired == 3
    assert one.snapshot().workers == 0


@pytest.mark.parametrize("seconds", [None, 60.0])
def test_queued_tasks_of_an_expired_group_never_start(
    one: ThreadExecutor, time: ManualTimekeeper, occupy: Occupy, seconds: float | None
) -> None:
    """The deadline is looked at when their turn comes, not when they were handed in."""
    gate, ran = occupy(one, 1), list[int]()
    with within(seconds, time.clock) as group:
        members = [one.submit(ran.append, 1), one.submit(ran.append, 2)]
        mapped = one.map(ran.append, range(3))
    stranger = one.submit(ran.append, 9)
    group.expire()
    gate.set()
    for member in members:
        with pytest.raises(DeadlineExceeded, match="needed no more"):
            member.result(30)
    with pytest.raises(DeadlineExceeded):
        next(mapped)
    stranger.result(30)
    assert ran == [9]


def test_a_running_task_of_an_expired_group_sees_it(
    one: ThreadExecutor, time: ManualTimekeeper, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no time left from then on, counts as overdue, and is no reason for a warning."""
    task = Hanging()
    with within(60.0, time.clock) as group:
        future = task.begin(one, time)
    group.expire()
    assert one.snapshot().overdue == 1
    task.gate.set()
    one.shutdown()
    assert task.saw == 0.0
    assert isinstance(future.exception(0), DeadlineExceeded)
    assert caplog.records == []


def test_a_map_ends_at_its_deadline(one: ThreadExecutor, time: ManualTimekeeper) -> None:
    """For what runs and for what waits; its consumer gets the error, and its slot is free."""
    task = Hanging()
    with within(2.0, time.clock):
        results = one.map(lambda i: i if i == 0 else task(time), range(3))
    assert next(results) == 0
    assert task.begun.wait(30)
    time.advance(2.0)
    with pytest.raises(DeadlineExceeded, match="did not end"):
        next(results)
    assert (one.snapshot().queued, one.snapshot().overdue, one.snapshot().expired) == (0, 1, 1)
    assert len(time) == 0
    task.gate.set()


def test_a_buffered_map_takes_up_nothing_after_its_deadline(
    one: ThreadExecutor, time: ManualTimekeeper
) -> None:
    """Items it had not handed in by then are never handed in to a thread."""
    seen: list[int] = []
    with within(2.0, time.clock):
        results = one.map(seen.append, range(9), buffersize=2)
    next(results)
    one.submit(int).result(30)
    time.advance(2.0)
    with pytest.raises(DeadlineExceeded):
        list(results)
    one.shutdown()
    assert seen in ([0, 1], [0, 1, 2])


def test_a_map_nobody_consumes_is_not_kept_by_its_alarm(
    one: ThreadExecutor, time: ManualTimekeeper
) -> None:
    """What its calls returned goes with it, though its deadline is far."""

    class Result:
        """Something large."""

    made: list[weakref.ref[Result]] = []

    def make(_: int) -> Result:
        result = Result()
        made.append(weakref.ref(result))
        return result

    with within(3_600.0, time.clock):
        results = one.map(make, range(3))
    one.shutdown()
    assert len(made) == 3
    del results
    gc.collect()
    assert [ref() for ref in made] == [None] * 3
    time.advance(3_600.0)


def test_a_nested_task_has_its_parents_deadline(
    one: ThreadExecutor, time: ManualTimekeeper
) -> None:
    """Run in its parent's thread it is too late there, as it would be on another."""

    def parent() -> tuple[float | None, BaseException | None]:
        def child() -> float | None:
            left = remaining(time.clock)
            time.advance(5.0)
            return left

        return one.submit(remaining, time.clock).result(0), one.submit(child).exception(0)

    with within(3.0, time.clock):
        future = one.submit(parent)
    assert isinstance(future.exception(30), DeadlineExceeded)
    one.shutdown()
    assert one.snapshot().failed == 2


def test_without_a_thread_for_alarms_tasks_run_all_the_same(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch, time: ManualTimekeeper, occupy: Occupy
) -> None:
    """The system may have no thread to spare: then they are dropped when their turn comes."""
    pool = pool_of(1, clock=time.clock, timekeeper=time)
    gate = occupy(pool, 1)

    def refuse(at: float, callback: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(time, "call_at", refuse)
    with within(1.0, time.clock):
        late = pool.submit(int)
    with within(9.0, time.clock):
        punctual = pool.submit(int, "7")
    time.advance(1.0)
    assert not late.done()
    gate.set()
    assert isinstance(late.exception(30), DeadlineExceeded)
    assert punctual.result(30) == 7


def test_a_deadline_that_passes_while_a_task_is_handed_in_is_not_missed(
    pool_of: PoolOf, time: ManualTimekeeper, occupy: Occupy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its alarm comes before the task is in the queue, where it finds nothing to drop."""
    pool = pool_of(1, clock=time.clock, timekeeper=time)
    occupy(pool, 1)
    call_at = time.call_at

    def call_at_too_early(at: float, callback: Callable[[], object]) -> Alarm:
        alarm = call_at(at, callback)
        time.advance(1.0)
        return alarm

    monkeypatch.setattr(time, "call_at", call_at_too_early)
    with within(1.0, time.clock):
        submitted = pool.submit(int)
    with within(1.0, time.clock):
        mapped = pool.map(int, range(3))
    assert isinstance(submitted.exception(0), DeadlineExceeded)
    with pytest.raises(DeadlineExceeded):
        next(mapped)
    assert pool.snapshot().queued == 0


def test_on_real_time_a_waiter_is_woken(pool_of: PoolOf, occupy: Occupy) -> None:
    """With the clock and the timekeeper of the process: nothing else ends these waits."""
    pool = pool_of(1)
    gate, begun = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        assert gate.wait(30)

    with within(0.05):
        running = pool.submit(hang)
        queued = pool.submit(int)
        mapped = pool.map(int, range(3))
    assert isinstance(queued.exception(30), DeadlineExceeded)
    assert isinstance(running.exception(30), DeadlineExceeded)
    with pytest.raises(DeadlineExceeded):
        next(mapped)
    gate.set()
