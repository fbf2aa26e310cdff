"""How long a group has, and what it does when its time, or that of the group around it, is up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import wait
from typing import Any

import pytest

from flask_concurrency.executors.groups.task_group import TaskGroup
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.runtime.deadline import check_deadline, remaining, within
from flask_concurrency.vocabulary.errors import (
    DeadlineExceeded,
)
from group_tasks import SOON, double, fail


def test_partial_gives_what_is_ready_when_time_is_up(bench: Any) -> None:
    """And lists what is missing; a body that waits for that is cut off, which is no error."""
    with bench.group(timeout=5, policy="partial") as group:
        group.threads.submit(double, 1).result(SOON)
        missing = group.executor("hand").submit(double, 2)
        bench.alarms.advance(5)
        missing.result(SOON)
        pytest.fail("the block goes on")

    assert group.results() == [2]
    assert group.missing == (missing,)
    assert isinstance(missing.exception(), DeadlineExceeded)
    assert bench.hand.futures[0].cancelled()


def test_all_that_run_out_of_time_are_named(bench: Any) -> None:
    """By number and name, with what to do."""
    told = "2 of its 3 tasks had not ended: #2 double, #3"
    with bench.failing(DeadlineExceeded, told, timeout=5) as (group, _):
        group.threads.submit(double, 1).result(SOON)
        group.executor("hand").submit(double, 2)
        group.executor("hand").submit(double, 3)
        bench.alarms.advance(5)

    assert [future.cancelled() for future in bench.hand.futures] == [True, True]


@pytest.mark.parametrize("error", [DeadlineExceeded("noticed"), OSError("timed out")], ids=repr)
def test_a_task_that_fails_because_time_is_up_is_late_like_the_others(
    bench: Any, error: Exception
) -> None:
    """A task that passes ``remaining()`` on may get any error; the group keeps it as the cause."""
    with bench.failing(DeadlineExceeded, "2 of its 2 tasks", timeout=5) as (group, _):
        group.executor("hand").submit(check_deadline)
        group.executor("hand").submit(double, 1)
        bench.hand.begin(0)
        bench.clock.advance(5)  # and the alarm has not rung yet
        bench.hand.end(0, error=error)

    assert [task.outcome().how for task in group.tasks] == ["late", "late"]
    late = group.tasks[0].exception()
    assert late is not None
    assert late.__cause__ is error


def test_the_time_of_a_body_that_needs_no_task_any_more_is_its_own(bench: Any) -> None:
    """All tasks were done in time: what the body does with more is no business of the group's."""
    with bench.group(timeout=5) as group:
        group.threads.submit(double, 1).result(SOON)
        bench.alarms.advance(5)

    assert group.results() == [2]


def test_a_deadline_that_the_body_checks_is_not_hushed_up(bench: Any) -> None:
    """``all`` ended without a late task, but its body did not get to its end."""
    with bench.failing(DeadlineExceeded, "nobody waits", timeout=5):
        bench.alarms.advance(5)
        bench.clock.advance(1)
        raise DeadlineExceeded("nobody waits")


def test_a_task_that_is_submitted_after_the_deadline_is_late_at_once(bench: Any) -> None:
    """It is not even handed over."""
    with bench.group(timeout=0, policy="settle") as group:
        group.executor("hand").submit(double, 1)

    assert [result.how for result in group.results()] == ["late"]
    assert bench.hand.futures == []


def test_the_deadline_is_read_in_the_block_and_in_its_tasks(bench: Any) -> None:
    """An inner group's time can only be shorter."""
    with bench.group(timeout=1_000_000) as group:
        outside = group.threads.submit(remaining, bench.clock).result(SOON)
        with bench.group(timeout=2) as inner:
            assert remaining(bench.clock) == 2
            shorter = inner.threads.submit(remaining, bench.clock)
            foreign = group.threads.submit(remaining, bench.clock)
        with bench.group(timeout=2_000_000):
            assert remaining(bench.clock) == 1_000_000

    assert outside == 1_000_000
    assert shorter.result() == 2
    assert foreign.result() == 2  # both: it was submitted inside of the inner block
    assert remaining() is None


def test_a_group_inside_ends_with_the_one_around_it(bench: Any) -> None:
    """The outer one's first error is what is raised, not what it did to the inner one."""
    with bench.failing(ValueError, "no") as (outer, _), bench.group() as inner:
        queued = inner.executor("hand").submit(double, 1)
        outer.threads.submit(fail)

    assert queued.outcome().how == "late"
    assert bench.hand.futures[0].cancelled()


def test_a_group_inside_a_task_ends_with_the_one_around_the_task(bench: Any) -> None:
    """On another thread, which waits for a result that is needed no longer."""
    began = threading.Event()

    def nested() -> None:
        with bench.group() as inner:
            inner.executor("hand").submit(double, 1)
            began.set()

    with bench.failing(ValueError, "no") as (outer, _):
        outer.threads.submit(nested)
        assert began.wait(SOON)
        outer.threads.submit(fail)

    assert bench.hand.futures[0].cancelled()


def test_a_group_that_begins_inside_a_stopped_one_is_stopped(bench: Any) -> None:
    """Its tasks are never handed over."""
    with bench.failing(ValueError, "no") as (outer, _):
        wait([outer.threads.submit(fail)], SOON)
        with bench.group() as inner:
            inner.executor("hand").submit(double, 1)

    assert bench.hand.futures == []


def test_a_group_of_work_that_was_spawned_outlives_the_group_around(bench: Any) -> None:
    """The outer group does not wait for that work, so it does not cancel it either."""
    began = threading.Event()

    def in_background() -> list[Any]:
        with within(1_000_000), bench.group() as inner:
            inner.executor("hand").submit(double, 1)
            began.set()
        return [task.result() for task in inner.tasks]

    with bench.failing(ValueError, "no") as (outer, _):
        spawned = bench.executors["threads"].spawn(in_background)
        assert began.wait(SOON)
        outer.threads.submit(fail)

    bench.hand.end(0, result=2)
    assert spawned.result(SOON) == [2]


@pytest.mark.slow
def test_a_thread_that_overruns_the_groups_time_does_not_hold_the_block(
    loop: LoopThread, pool_of: Callable[..., ThreadExecutor]
) -> None:
    """It runs on, and is counted as overdue; this is real time."""
    threads, gate, began = pool_of(2), threading.Event(), threading.Event()

    def overrun() -> None:
        began.set()
        assert gate.wait(SOON)

    group = TaskGroup({"threads": threads}.__getitem__, loop, timeout=0.2, policy="partial")
    with group:
        group.threads.submit(overrun)
        began.wait(0.2)

    assert isinstance(group.missing[0].exception(), DeadlineExceeded)
    if began.is_set():  # a machine under load may not even have begun it
        assert threads.snapshot().overdue == 1
    gate.set()


def test_a_group_whose_time_cannot_be_kept_takes_no_task(bench: Any) -> None:
    """No thread can be started for it: an error in the block, which still ends."""

    def no_thread(*_: object) -> Any:
        raise RuntimeError("can't start new thread")

    bench.alarms.call_at = no_thread
    with bench.failing(RuntimeError, "new thread", timeout=5) as (group, _):
        group.executor("hand").submit(double, 1)

    assert group.tasks == ()
    assert bench.hand.futures == []
