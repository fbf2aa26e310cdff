"""Run CPython's own tests of executors on ours, and note what became of each.

    PYTHONPATH=SUITE OUTCOMES=FILE.json python cpython_executors.py CLASS...

SUITE is a folder with the package ``test``. In CPython's file nothing is changed but which class
an executor is made of, and what its scripts import. What the tests look up in private attributes of
the standard library's executors is answered from what ours say in public.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import json
import os
import subprocess
import sys
import threading
import time
import unittest
import warnings
import weakref
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.executors.threads import ThreadExecutor

HERE = str(Path(__file__).parent)
GONE_WITHIN = 20.0
"""Seconds for which a test waits for workers to come or to go."""
HELPERS = ("resource_tracker", "forkserver")
"""What else the library and the standard library start, beside workers."""


class _Gone:
    """Stands for a private thread or queue of the standard library, which ends after the workers.

    Ours have none. What a test waits for there is that the executor holds no worker any more.
    """

    def __init__(self, executor: ProcessExecutor) -> None:
        self._executor = weakref.ref(executor)

    def join(self) -> None:
        """Wait until the executor has no workers, or is no more."""
        give_up_at = time.monotonic() + GONE_WITHIN
        while (executor := self._executor()) is not None and executor.snapshot().workers:
            assert time.monotonic() < give_up_at, f"{executor} is alive, and so are its workers"
            del executor
            time.sleep(0.05)

    join_thread = join


class ThreadPoolExecutor(ThreadExecutor):
    """Ours, as the tests make and question the standard library's."""

    _made = 0

    def __init__(
        self, max_workers: int | None = None, thread_name_prefix: str = "", **options: Any
    ) -> None:
        ThreadPoolExecutor._made += 1
        self._prefix = thread_name_prefix or f"ThreadPoolExecutor-{ThreadPoolExecutor._made}"
        super().__init__(max_workers, max_queue=None, thread_name_prefix=self._prefix, **options)

    @property
    def _max_workers(self) -> int:
        return self.max_workers

    @property
    def _broken(self) -> bool:
        try:
            self.submit(int)
        except concurrent.futures.BrokenExecutor:
            return True
        return False

    @property
    def _threads(self) -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one.name.startswith(f"{self._prefix}_")]


class _Workers:
    """The worker processes of an executor, as the mapping that the tests look into."""

    def __init__(self, executor: ProcessExecutor) -> None:
        self._executor = weakref.ref(executor)

    def __len__(self) -> int:
        executor = self._executor()
        return 0 if executor is None else executor.snapshot().workers

    def values(self) -> list[psutil.Process]:
        """Give those that run; at least one, if the executor has begun to start any."""
        give_up_at = time.monotonic() + GONE_WITHIN
        while not (found := _workers()) and len(self) and time.monotonic() < give_up_at:
            time.sleep(0.05)
        for one in found:
            one.join = partial(_await_end, one)
            one.terminate = one.kill  # workers leave SIGTERM to the server's process
        return found


def _workers() -> list[psutil.Process]:
    """What this process has started to run tasks: its children and their forks, less helpers."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            helper = one.ppid() == os.getpid() and any(
                name in str(one.cmdline()) for name in HELPERS
            )
            if not helper:
                found.append(one)
    return found


def _await_end(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.wait(GONE_WITHIN)


class ProcessPoolExecutor(ProcessExecutor):
    """Ours, as the tests make and question the standard library's."""

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        max_tasks_per_child: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            max_workers,
            max_queue=None,
            max_tasks_per_worker=max_tasks_per_child,
            start_method=mp_context and mp_context.get_start_method(),
            **options,
        )

    @property
    def _max_workers(self) -> int:
        return self.max_workers

    @property
    def _executor_manager_thread(self) -> _Gone:
        return _Gone(self)

    _call_queue = _executor_manager_thread

    @property
    def _processes(self) -> _Workers:
        return _Workers(self)


def take_over() -> None:
    """Let the names of the standard library mean ours, in this process."""
    concurrent.futures.ThreadPoolExecutor = ThreadPoolExecutor  # type: ignore[assignment, misc]
    concurrent.futures.ProcessPoolExecutor = ProcessPoolExecutor  # type: ignore[assignment, misc]


def assert_script_ok(option: str, script: str) -> tuple[int, bytes, bytes]:
    """Do as ``test.support.script_helper.assert_python_ok``, with our executors in the script."""
    prelude = "import cpython_executors; cpython_executors.take_over()\n"
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", option, prelude + script],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([HERE, os.environ["PYTHONPATH"]])},
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended
    return ended.returncode, ended.stdout, ended.stderr


class Outcomes(unittest.TestResult):
    """Keeps for each test whether it passed, was skipped, or the last line of why it failed."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, str] = {}

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.of.setdefault(_name(test), "passed")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.of[_name(test)] = "skipped"

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.of[_name(test)] = f"failed: {err[0].__name__}: {err[1]}"

    addError = addFailure


def _name(test: unittest.TestCase) -> str:
    return ".".join(test.id().split(".")[-2:])


def _be_future(module: Any, future: Any) -> None:
    """Let the tests of ``Future`` meet those of ours."""
    module.Future = type("Future", (future,), {})  # by that name they look for it in texts
    for name in [name for name in vars(module) if name.endswith("_FUTURE")]:
        old = getattr(module, name)
        setattr(module, name, module.create_future(old._state, old._exception, old._result))


def main(classes: list[str]) -> None:
    """Run the tests of ``classes`` and write down their outcomes."""
    warnings.simplefilter("ignore")
    take_over()
    module: Any = importlib.import_module("test.test_concurrent_futures")
    module.assert_python_ok = assert_script_ok
    with ThreadPoolExecutor(1) as executor:  # what stays from the first task on, stays: no leak
        _be_future(module, type(executor.submit(int)))
    outcomes = Outcomes()
    loader = unittest.TestLoader()
    for name in classes:
        loader.loadTestsFromTestCase(getattr(module, name)).run(outcomes)
    Path(os.environ["OUTCOMES"]).write_text(json.dumps(outcomes.of))


if __name__ == "__main__":
    main(sys.argv[1:])
