"""CPython's own tests of executors, on ours. What differs is listed, and stated in the docs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import differences
from differences import Difference

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PARTS = {
    "threads": [
        "ThreadPoolInitializerTest",
        "ThreadPoolFailingInitializerTest",
        "ThreadPoolShutdownTest",
        "ThreadPoolExecutorTest",
    ],
    "threads-waiting": [
        "ThreadPoolWaitTests",
        "ThreadPoolAsCompletedTest",
        "FutureTests",
    ],
    "forkserver-waiting": [
        "ProcessPoolForkserverWaitTest",
        "ProcessPoolForkserverAsCompletedTest",
        "ProcessPoolForkserverProcessPoolShutdownTest",
    ],
    "forkserver": [
        "ProcessPoolForkserverInitializerTest",
        "ProcessPoolForkserverFailingInitializerTest",
        "ProcessPoolForkserverProcessPoolExecutorTest",
        "ProcessPoolForkserverExecutorDeadlockTest",
    ],
    "spawn": [  # less its waiting, which is done by the same code wherever workers come from
        "ProcessPoolSpawnInitializerTest",
        "ProcessPoolSpawnFailingInitializerTest",
        "ProcessPoolSpawnProcessPoolShutdownTest",
        "ProcessPoolSpawnProcessPoolExecutorTest",
        "ProcessPoolSpawnExecutorDeadlockTest",
    ],
    "fork": [
        "ProcessPoolForkInitializerTest",
        "ProcessPoolForkFailingInitializerTest",
        "ProcessPoolForkProcessPoolShutdownTest",
        "ProcessPoolForkWaitTest",
        "ProcessPoolForkAsCompletedTest",
        "ProcessPoolForkProcessPoolExecutorTest",
        "ProcessPoolForkExecutorDeadlockTest",
    ],
}

EXECUTORS = "reference/executors.md"
SPAWNED = "ProcessPool[FS][op][ra][kw][sn]*"
"""Matches the classes of ``forkserver`` and ``spawn``, and not those of ``fork``."""
OWN_DEATH = "A worker that dies takes its own task along and no other."
PICKLED = "What cannot be pickled is refused by `submit`"
REBUILT = "fails its own task with `TaskNotPicklable`, and neither the worker nor the pool."
INHERITED = (
    "What `multiprocessing` shares by inheritance alone, its `Queue`, `Lock` and `Value`, cannot "
    "be among `initargs` either; those of a `Manager` can."
)
EXIT = "`sys.exit()` in a task does not end its worker: the task fails with `ExecutorError`."
NAMES = "Threads are named after their executor and counted from 1: `threads_1`."
OWN_LOGGER = "What an `initializer` raises in a thread is logged by `flask_concurrency.executors`."
OWN_TEXT = (
    "An impossible option raises `ConfigurationError`, a `ValueError` with a text of its own."
)
NOT_BEGUN = (
    "`shutdown(cancel_futures=True)` cancels all that no worker has begun, and so a task whose "
    "worker is still starting."
)
AT_EXIT = (
    "In `atexit` functions, `threads` still take work and do it, while `processes` refuse it with "
    "`ExecutorShutdown`, a `RuntimeError`."
)
CAUSE = "Its `__cause__` is a text, the traceback from the worker, of a class of ours."

DIFFERENCES = [
    # Where workers come from.
    Difference(
        "ProcessPoolFork[!s]*",
        "start_method='fork' is not offered",
        "reference/configuration.md",
        "How workers are started. Never by a fork of the server.",
    ),
    Difference(
        "ThreadPoolExecutorTest.test_hang_global_shutdown_lock",
        "start_method='fork' is not offered",
        "reference/configuration.md",
        "How workers are started. Never by a fork of the server.",
    ),
    Difference(
        f"{SPAWNED}.test_max_tasks_per_child_defaults_to_spawn_context",
        "has no attribute '_mp_context'",
        "reference/configuration.md",
        '| `start_method` | `"forkserver"`, on Windows `"spawn"` |',
    ),
    # Options.
    Difference(
        "ThreadPoolFailingInitializerTest.test_initializer",
        "no logs of level CRITICAL or higher triggered on concurrent.futures",
        EXECUTORS,
        OWN_LOGGER,
    ),
    Difference(
        "ThreadPoolShutdownTest.test_thread_names_*",
        "Regex didn't match",
        EXECUTORS,
        NAMES,
        always=False,
    ),
    Difference(
        "ThreadPoolExecutorTest.test_max_workers_negative",
        "max_workers=0 is no whole number",
        EXECUTORS,
        OWN_TEXT,
    ),
    Difference(
        f"{SPAWNED}.test_max_workers_negative",
        "max_workers=0 is no whole number",
        EXECUTORS,
        OWN_TEXT,
    ),
    # What cannot be sent.
    Difference(f"{SPAWNED}.test_processes_terminate", "TaskNotPicklable", EXECUTORS, PICKLED),
    Difference(f"{SPAWNED}.test_saturation", "TaskNotPicklable", EXECUTORS, PICKLED),
    Difference(f"{SPAWNED}.test_error_at_task_pickle", "TaskNotPicklable", EXECUTORS, PICKLED),
    Difference(f"{SPAWNED}.test_shutdown_deadlock_pickle", "TaskNotPicklable", EXECUTORS, PICKLED),
    Difference(f"{SPAWNED}.test_error_at_task_unpickle", "TaskNotPicklable", EXECUTORS, REBUILT),
    Difference(f"{SPAWNED}.test_error_during_result_*", "TaskNotPicklable", EXECUTORS, REBUILT),
    Difference(f"{SPAWNED}.test_exit_during_result_*", "SystemExit: 1", EXECUTORS, REBUILT),
    Difference(
        "ProcessPool*FailingInitializerTest.test_initializer",
        "Queue objects should only be shared between processes through inheritance",
        EXECUTORS,
        INHERITED,
    ),
    # How tasks and workers end.
    Difference(f"{SPAWNED}.test_crash_*", "WorkerDied", EXECUTORS, OWN_DEATH),
    Difference(f"{SPAWNED}.test_shutdown_deadlock", "WorkerDied", EXECUTORS, OWN_DEATH),
    Difference(
        f"{SPAWNED}.test_killed_child",
        "WorkerDied|WorkerStartFailed|not raised by result",  # killed before it had begun the task
        EXECUTORS,
        OWN_DEATH,
    ),
    Difference(
        f"{SPAWNED}.test_exit_at_task_unpickle", "A task cannot end the worker", EXECUTORS, EXIT
    ),
    Difference(
        f"{SPAWNED}.test_exit_during_func_exec_on_worker",
        "A task cannot end the worker",
        EXECUTORS,
        EXIT,
    ),
    Difference(f"{SPAWNED}.test_traceback", "RemoteTraceback'> is not", EXECUTORS, CAUSE),
    # Shutdown.
    Difference(
        f"{SPAWNED}.test_cancel_futures", "0 not greater than 0", EXECUTORS, NOT_BEGUN, always=False
    ),
    Difference(
        "ThreadPoolShutdownTest.test_cancel_futures_wait_false",
        "b'' != b'apple'",
        EXECUTORS,
        NOT_BEGUN,
        always=False,
    ),
    Difference(
        "ThreadPoolShutdownTest.test_submit_after_interpreter_shutdown",
        "not found in ''",
        EXECUTORS,
        AT_EXIT,
    ),
    Difference(
        f"{SPAWNED}.test_submit_after_interpreter_shutdown",
        "ExecutorShutdown: .* takes no more tasks",
        EXECUTORS,
        AT_EXIT,
    ),
]


@pytest.fixture(scope="module")
def runs(
    cpython_suite: Path, start: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """All parts, which sleep for most of their time, side by side."""
    runner = str(Path(__file__).with_name("cpython_executors.py"))
    scratch = tmp_path_factory.mktemp("run")
    return {
        part: start(part, [sys.executable, runner, *classes], path=[cpython_suite], cwd=scratch)
        for part, classes in PARTS.items()
    }


@pytest.mark.parametrize("part", PARTS)
def test_executors_pass_what_cpython_asks_of_its_own(part: str, runs: dict[str, Any]) -> None:
    """All but what the lists name fails in no test, and what they name fails as they say."""
    outcomes = runs[part].outcomes()
    assert outcomes
    assert differences.compare(outcomes, DIFFERENCES) == []


def test_every_line_of_the_lists_is_about_a_test(runs: dict[str, Any]) -> None:
    """What CPython has dropped is dropped here."""
    tests = [test for run in runs.values() for test in run.outcomes()]
    assert differences.outdated(tests, DIFFERENCES) == []


def test_the_docs_state_every_difference() -> None:
    """A user who moves from the standard library reads of it before it is met."""
    assert differences.unstated(DIFFERENCES) == []
