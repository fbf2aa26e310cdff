"""Worker processes in a group: what is needed no more is killed, and the time is known there."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from flask_concurrency.executors.groups.task_group import TaskGroup
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.processes.executor import ProcessExecutor
from flask_concurrency.runtime.deadline import remaining
from flask_concurrency.vocabulary.errors import DeadlineExceeded

pytestmark = pytest.mark.slow

SOON = 30.0
FOR_EVER = 600.0


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessExecutor]:
    executor = ProcessExecutor(2)
    executor.submit(abs, -1).result()
    yield executor
    executor.shutdown()


def until_busy(processes: ProcessExecutor, workers: int) -> None:
    give_up_at = time.monotonic() + SOON
    while processes.snapshot().busy != workers:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)  # a worker does not notify us when it begins


def test_a_worker_whose_result_is_not_needed_is_killed(
    processes: ProcessExecutor, loop: LoopThread
) -> None:
    """And the next task finds another."""
    killed = processes.snapshot().killed
    group = TaskGroup({"processes": processes}.__getitem__, loop, policy="any")

    with group:
        for _ in range(3):
            group.processes.submit(time.sleep, FOR_EVER)
        until_busy(processes, 2)
        group.tasks[2].cancel()
        group.loop.submit(quick)

    assert group.result() == "quick"
    assert [task.cancelled() for task in group.tasks] == [True, True, True, False]
    assert processes.snapshot().killed == killed + 2
    assert processes.submit(abs, -1).result() == 1


async def quick() -> str:
    return "quick"


def test_a_worker_that_overruns_the_groups_time_is_killed(
    processes: ProcessExecutor, loop: LoopThread
) -> None:
    """The block ends when its time is up, and so does the worker."""
    group = TaskGroup({"processes": processes}.__getitem__, loop, timeout=0.5, policy="partial")

    with group:
        group.processes.submit(time.sleep, FOR_EVER)

    assert isinstance(group.missing[0].exception(), DeadlineExceeded)
    until_busy(processes, 0)  # the timer thread may still be about to take the worker away


def test_a_worker_knows_the_groups_time(processes: ProcessExecutor, loop: LoopThread) -> None:
    """``remaining()`` counts down there, too."""
    group = TaskGroup({"processes": processes}.__getitem__, loop, timeout=FOR_EVER)

    with group:
        group.processes.submit(remaining)

    assert 0 < group.results()[0] <= FOR_EVER
