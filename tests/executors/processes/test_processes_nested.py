"""Process executors used inside worker processes."""

from __future__ import annotations

import process_tasks as tasks
from flask_concurrency.executors.processes import ProcessExecutor


def test_pitfall_21_a_task_that_uses_a_pool_runs_its_tasks_itself(pool: ProcessExecutor) -> None:
    """As many of them as there are workers, and more, at once: none waits for another."""
    for doubled, in_this_process in pool.map(tasks.use_own_pool, [range(3)] * 6):
        assert doubled == [0, 2, 4]
        assert in_this_process


def test_a_nested_task_fails_as_any_other(pool: ProcessExecutor) -> None:
    """Its error is in its future, not in the submit."""
    assert pool.submit(tasks.nested_failure).result(10) == "inside"
