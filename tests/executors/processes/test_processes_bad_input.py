"""Tasks that do what no task should, many at once: each fails alone, and nothing is left over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import process_tasks as tasks
import process_watching as watching
from flask_concurrency import DeadlineExceeded, ExecutorError, WorkerDied, WorkerOutOfMemory
from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.runtime.deadline import within

PoolOf = Callable[..., ProcessExecutor]


def test_a_task_that_recurses_for_ever_fails_alone(pool: ProcessExecutor) -> None:
    """As it would anywhere; its worker works on."""
    with pytest.raises(RecursionError):
        pool.submit(tasks.recurse_for_ever).result(30)
    assert pool.submit(abs, -1).result(30) == 1


@pytest.mark.parametrize("end", [(tasks.leave, 3), (tasks.interrupt,)])
def test_pitfall_12_what_ends_a_program_ends_neither_worker_nor_owner(
    pool: ProcessExecutor, end: tuple[Any, ...]
) -> None:
    """``SystemExit`` and ``KeyboardInterrupt`` of a task arrive as an ordinary error."""
    pids: set[int] = set()
    while len(pids) < pool.max_workers:  # one of them may still be starting
        pids.update(pool.map(tasks.worker_pid, range(8)))
    error = pool.submit(*end).exception(30)
    assert isinstance(error, ExecutorError)
    assert set(pool.map(tasks.worker_pid, range(8))) <= pids


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0, None])
def test_pitfall_26_a_huge_result_arrives_whole_with_shared_memory_or_without(
    pool_of: PoolOf, shared: int | None
) -> None:
    """A container may have little of it; neighbours are served meanwhile."""
    executor = pool_of(2, max_shared_memory=shared)
    size = 64 << 20
    huge = executor.submit(tasks.bytes_of, size)
    assert [executor.submit(abs, -number).result(30) for number in range(20)] == list(range(20))
    result = huge.result(30)
    assert len(result) == size
    assert result.count(0) == size


def _left_over() -> dict[str, Any]:
    """What a pool could leave behind: sets and counts."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return {
        "processes": watching.child_processes(),
        "threads": {
            thread.name for thread in threading.enumerate() if thread.name != "concurrency-time"
        },
        "descriptors": watching.descriptors(),
        "shared memory": watching.names_in_shared_memory(),
        "maps of shared memory": sum("/memfd:" in line or "/dev/shm" in line for line in maps),
    }


REASONS = {"crash": WorkerDied, "hang": DeadlineExceeded, "overrun": WorkerOutOfMemory}


@pytest.mark.slow
def test_of_a_thousand_tasks_exactly_the_bad_ones_fail() -> None:
    """50 crash, 50 hang and 50 want too much memory, each with its own reason.

    The other 850 results are right and in order, and nothing is left over: no process, thread,
    descriptor, semaphore or segment of shared memory.
    """
    before = _left_over()
    bad = dict(zip(range(6, 1000, 20), ["crash"] * 50, strict=True))
    bad.update(zip(range(11, 1000, 20), ["hang"] * 50, strict=True))
    bad.update(zip(range(16, 1000, 20), ["overrun"] * 50, strict=True))
    with ProcessExecutor(2, max_memory="1GiB", max_queue=None, preload=["process_tasks"]) as pool:
        pool.submit(abs, -1).result(30)
        futures = []
        for number in range(1000):
            how = bad.get(number, "behave")
            # Only those that hang have a deadline that passes, for all wait in the same queue.
            with within(0.05 if how == "hang" else None):
                futures.append(pool.submit(tasks.misbehave, number, how))
            if how == "hang":  # begun, at the latest, when its deadline is near
                futures[-1].exception(30)
        outcomes = [future.exception(60) or future.result() for future in futures]
        snapshot = pool.snapshot()
    assert len(bad) == 150
    for number, outcome in enumerate(outcomes):
        if number in bad:
            assert type(outcome) is REASONS[bad[number]], (number, bad[number], outcome)
        else:
            assert outcome == 2 * number
    assert snapshot.done == 851
    assert (snapshot.failed, snapshot.expired) == (100, 50)
    assert 0 < snapshot.killed <= 50
    left = _left_over()  # what others left before may have gone by now
    assert {what: left[what] for what in left if not left[what] <= before[what]} == {}
