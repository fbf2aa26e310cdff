"""Decide which options of a process executor are valid. Starts nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flask_concurrency.executors.options import ExecutorOptions, require_int, require_seconds
from flask_concurrency.executors.processes.shared_memory.available_memory import available_memory
from flask_concurrency.executors.processes.worker.memory_cap import check_max_memory
from flask_concurrency.executors.processes.worker.task_context import TaskContext
from flask_concurrency.vocabulary.errors import ConfigurationError

WINDOWS_MAX_WORKERS: Final = 61  # what one WaitForMultipleObjects() call can watch
START_METHODS: Final = ("forkserver", "spawn")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions(ExecutorOptions):
    """Options that check themselves; see :class:`ProcessExecutor` for what they mean.

    :raises ConfigurationError: One is wrong; the message names it, its value and the remedy.
    """

    preload: Sequence[str] = ()
    initializer: Callable[..., object] | None = None
    initargs: Sequence[Any] = ()
    max_tasks_per_worker: int | None = None
    idle_timeout: float | None = None
    max_memory: int | None = None
    task_context: TaskContext | None = None
    max_shared_memory: int = 0
    start_method: str = "spawn"

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is made anew, and is not the class that it looks for.
        ExecutorOptions.__post_init__(self)
        if os.name == "nt" and self.max_workers > WINDOWS_MAX_WORKERS:
            raise ConfigurationError(
                f"max_workers={self.max_workers!r} is more than Windows can watch. "
                f"Use {WINDOWS_MAX_WORKERS} at most."
            )
        if self.task_context is not None and not callable(self.task_context):
            raise ConfigurationError(
                f"task_context={self.task_context!r} cannot be called. Pass a function of a "
                "module that returns what makes a context manager for each task."
            )
        if self.max_tasks_per_worker is not None:
            require_int(
                "max_tasks_per_worker",
                self.max_tasks_per_worker,
                at_least=1,
                instead="None to replace no worker",
            )
        if self.idle_timeout is not None:
            require_seconds(
                "idle_timeout", self.idle_timeout, instead="None to keep idle workers", above_0=True
            )
        require_int(
            "max_shared_memory",
            self.max_shared_memory,
            at_least=0,
            instead="None for an eighth of the memory",
        )
        preload = self.preload
        listed = isinstance(preload, Sequence) and not isinstance(preload, str)
        if not listed or not all(isinstance(module, str) for module in preload):
            raise ConfigurationError(
                f"preload={preload!r} is no sequence of module names. Write preload=['app']."
            )
        if self.initializer is not None and not callable(self.initializer):
            raise ConfigurationError(
                f"initializer={self.initializer!r} cannot be called. Pass a function of a module."
            )
        if isinstance(self.initargs, str) or not isinstance(self.initargs, Sequence):
            raise ConfigurationError(
                f"initargs={self.initargs!r} is no sequence. "
                f"Pass a tuple, such as ({self.initargs!r},)."
            )
        _check_start_method(self.start_method)
        object.__setattr__(self, "preload", tuple(preload))
        object.__setattr__(self, "initargs", tuple(self.initargs))
        object.__setattr__(self, "max_memory", check_max_memory(self.max_memory))


def default_max_workers() -> int:
    """Count the processors this process may use."""
    if sys.version_info >= (3, 13):
        count = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return min(count, WINDOWS_MAX_WORKERS) if os.name == "nt" else count


def default_shared_memory() -> int:
    """Count the bytes that an executor may share by default."""
    return available_memory() // 8


def default_start_method() -> str:
    """Name the way workers are started on this platform."""
    return "forkserver" if hasattr(os, "fork") else "spawn"


def _check_start_method(start_method: object) -> None:
    if start_method == "fork":
        raise ConfigurationError(
            "start_method='fork' is not offered: a fork of a process with threads can hang for "
            "ever on a lock that another thread held. Use 'forkserver', which forks a process "
            "without threads and, with 'preload', is as fast."
        )
    if start_method not in START_METHODS:
        raise ConfigurationError(
            f"start_method={start_method!r} is unknown. Use one of {START_METHODS}, or None."
        )
    if start_method == "forkserver" and not hasattr(os, "fork"):
        raise ConfigurationError(
            "start_method='forkserver' needs os.fork, which this platform lacks. Use 'spawn'."
        )
