"""What workers have from the process they are forked from, and what they leave at their end."""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

import flask_concurrency
import inherited
import process_tasks as tasks
from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.vocabulary.errors import TaskNotPicklable, WorkerStartFailed

PoolOf = Callable[..., ProcessExecutor]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("preload", [("inherited",), ("numpy.random", "inherited")])
def test_each_worker_draws_random_numbers_of_its_own(
    pool_of: PoolOf, preload: tuple[str, ...]
) -> None:
    """Although all are copies of one process that had loaded the generators."""
    pytest.importorskip("numpy")
    drawn = []
    for _ in range(3):
        with pool_of(1, preload=preload) as executor:
            drawn.append(executor.submit(inherited.draw).result(30))
    executor = pool_of(1, preload=preload, max_tasks_per_worker=1)
    drawn += [executor.submit(inherited.draw).result(30) for _ in range(3)]
    assert len({of_numpy for of_numpy, _ in drawn}) == 6
    assert len({of_random for _, of_random in drawn}) == 6


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("thread", "the thread 'scheduler' was started"),
        ("socket", "a network connection was opened"),
        ("file", "inherited.py was opened"),
    ],
)
def test_what_must_not_be_forked_is_not(
    pool_of: PoolOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
    named: str,
) -> None:
    """Workers are started as fresh interpreters then, and one log line says why."""
    monkeypatch.setenv("INHERITED", what)
    executor = pool_of(2, preload=["inherited"])
    with caplog.at_level(logging.WARNING, "flask_concurrency.processes"):
        futures = [executor.submit(inherited.process_ids) for _ in range(2)]
        parents = {future.result(60)[1] for future in futures}
    assert parents == {os.getpid()}
    (told,) = [r.getMessage() for r in caplog.records if "forks of it" in r.getMessage()]
    assert named in told


@pytest.mark.parametrize("what", ["", "log", "guarded"])
def test_a_module_that_leaves_nothing_open_is_forked(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A log that is only written to is no harm; ``in_worker()`` guards the rest."""
    monkeypatch.setenv("INHERITED", what)
    executor = pool_of(1, preload=["inherited"])
    assert executor.submit(inherited.process_ids).result(60)[1] != os.getpid()
    assert executor.submit(flask_concurrency.in_worker).result(30)
    assert not flask_concurrency.in_worker()


def test_a_module_that_cannot_be_imported_is_named(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the error that it raised, before its traceback."""
    monkeypatch.setenv("INHERITED", "failure")
    with pytest.raises(
        WorkerStartFailed, match=r"importing 'inherited' in a worker failed: OSError: no such disk"
    ):
        pool_of(1, preload=["inherited"]).submit(abs, -1).result(60)


def test_a_module_that_only_a_task_imports_is_named_too(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task's function is not blamed for what its module does."""
    monkeypatch.setenv("INHERITED", "failure")
    with pytest.raises(
        TaskNotPicklable,
        match=r"^Importing 'inherited' in a worker .*failed: OSError: no such disk",
    ):
        pool_of(1).submit(inherited.process_ids).result(60)


@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_a_manager_of_multiprocessing_can_be_used_in_tasks(
    pool_of: PoolOf, start_method: str
) -> None:
    """Workers know the key of their owner, as the standard library's do."""
    executor = pool_of(1, start_method=start_method)
    with multiprocessing.get_context("spawn").Manager() as manager:
        progress = manager.list()
        executor.submit(tasks.append_progress, progress, "half").result(60)
        assert list(progress) == ["half"]


@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_shared_memory_by_name_outlives_a_worker(pool_of: PoolOf, start_method: str) -> None:
    """One that a worker has attached to, and one that it has made."""
    executor = pool_of(1, start_method=start_method, max_tasks_per_worker=1)
    ours = SharedMemory(create=True, size=16)
    try:
        made = executor.submit(tasks.use_shared_memory, ours.name).result(60)
        executor.shutdown()
        assert ours.buf is not None
        assert bytes(ours.buf[:5]) == b"there"
        theirs = SharedMemory(made)
        theirs.close()
        theirs.unlink()
    finally:
        ours.close()
        ours.unlink()


@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_a_worker_ends_what_its_tasks_have_started(
    pool_of: PoolOf, tmp_path: Path, start_method: str
) -> None:
    """Daemons and other children end with it, its threads finish, and finalizers run."""
    executor = pool_of(1, start_method=start_method)
    daemon, child = executor.submit(tasks.leave_behind, str(tmp_path)).result(60)
    executor.shutdown()
    assert (tmp_path / "thread").read_text() == "done"
    assert (tmp_path / "finalizer").read_text() == "done"
    for pid in (daemon, child):
        for _ in range(200):
            if not _lives(pid):
                break
            time.sleep(0.05)
        assert not _lives(pid)


def _lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_an_unread_map_does_not_keep_a_dropped_executor(tmp_path: Path) -> None:
    """Its workers end, as with the standard library."""
    script = tmp_path / "dropped.py"
    script.write_text(
        "import gc, weakref\n"
        "from flask_concurrency.executors.processes import ProcessExecutor\n"
        "if __name__ == '__main__':\n"
        "    executor = ProcessExecutor(1)\n"
        "    results, gone = executor.map(abs, [-1, -2]), weakref.ref(executor)\n"
        "    del executor\n"
        "    gc.collect()\n"
        "    print(gone() is None, list(results))\n"
    )
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "True [1, 2]\n"
