"""Decide which options of a process executor are valid. Starts nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final, get_args

from flask_concurrency.executors.options import WhenFull, require_seconds
from flask_concurrency.executors.processes.shared_memory.available_memory import available_memory
from flask_concurrency.executors.processes.worker.memory_cap import check_max_memory
from flask_concurrency.executors.processes.worker.task_context import Around
from flask_concurrency.vocabulary.errors import ConfigurationError

WINDOWS_MAX_WORKERS: Final = 61  # what one WaitForMultipleObjects() call can watch
START_METHODS: Final = ("forkserver", "spawn")


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """Checked options; see :class:`ProcessExecutor` for what they mean."""

    max_workers: int
    max_queue: int | None
    when_full: WhenFull
    preload: tuple[str, ...]
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    max_tasks_per_worker: int | None
    idle_timeout: float | None
    drain_timeout: float | None
    max_memory: int | None
    around: Around | None
    max_shared_memory: int
    start_method: str
    name: str


def default_max_workers() -> int:
    """Count the processors this process may use."""
    if sys.version_info >= (3, 13):
        count = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return min(count, WINDOWS_MAX_WORKERS) if os.name == "nt" else count


def default_start_method() -> str:
    """Name the way workers are started on this platform."""
    return "forkserver" if hasattr(os, "fork") else "spawn"


def check_options(
    *,
    max_workers: int | None,
    max_queue: int | None,
    when_full: WhenFull,
    preload: Sequence[str],
    initializer: Callable[..., object] | None,
    initargs: Sequence[Any],
    max_tasks_per_worker: int | None,
    idle_timeout: float | None,
    drain_timeout: float | None,
    max_memory: int | str | None,
    around: Around | None,
    max_shared_memory: int | None,
    start_method: str | None,
    name: str,
) -> ProcessOptions:
    """Check the options of an executor and fill in the defaults.

    :raises ConfigurationError: One is wrong; the message names it, its value and the remedy.
    """
    if max_workers is None:
        max_workers = default_max_workers()
    _check_count("max_workers", max_workers, 1, "None takes one for each processor")
    if os.name == "nt" and max_workers > WINDOWS_MAX_WORKERS:
        raise ConfigurationError(
            f"max_workers={max_workers!r} is more than Windows can watch. "
            f"Use {WINDOWS_MAX_WORKERS} at most."
        )
    if max_queue is not None:
        _check_count("max_queue", max_queue, 0, "None lets any number of tasks wait")
    if when_full not in get_args(WhenFull):
        raise ConfigurationError(
            f"when_full={when_full!r} is unknown. "
            "Write 'refuse' to raise QueueFull at once, or 'wait' to wait for a place."
        )
    if drain_timeout is not None:
        require_seconds("drain_timeout", drain_timeout, instead="None to wait for all")
    if around is not None and not callable(around):
        raise ConfigurationError(
            f"around={around!r} cannot be called. Pass a function of a module that returns what "
            "makes a context manager for each task."
        )
    if max_tasks_per_worker is not None:
        _check_count("max_tasks_per_worker", max_tasks_per_worker, 1, "None never replaces one")
    if max_shared_memory is None:
        max_shared_memory = available_memory() // 8
    _check_count("max_shared_memory", max_shared_memory, 0, "None takes an eighth of the memory")
    listed = isinstance(preload, Sequence) and not isinstance(preload, str)
    if not listed or not all(isinstance(module, str) for module in preload):
        raise ConfigurationError(
            f"preload={preload!r} is no sequence of module names. Write preload=['app']."
        )
    if initializer is not None and not callable(initializer):
        raise ConfigurationError(
            f"initializer={initializer!r} cannot be called. Pass a function of a module."
        )
    if isinstance(initargs, str) or not isinstance(initargs, Sequence):
        raise ConfigurationError(
            f"initargs={initargs!r} is no sequence. Pass a tuple, such as ({initargs!r},)."
        )
    if start_method is None:
        start_method = default_start_method()
    _check_start_method(start_method)
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"name={name!r} names nothing. Pass a word for the messages.")
    return ProcessOptions(
        max_workers=max_workers,
        max_queue=max_queue,
        when_full=when_full,
        preload=tuple(preload),
        initializer=initializer,
        initargs=tuple(initargs),
        max_tasks_per_worker=max_tasks_per_worker,
        idle_timeout=_check_seconds("idle_timeout", idle_timeout, "None keeps idle workers"),
        drain_timeout=drain_timeout,
        max_memory=check_max_memory(max_memory),
        around=around,
        max_shared_memory=max_shared_memory,
        start_method=start_method,
        name=name,
    )


def _check_count(option: str, value: object, least: int, none: str) -> None:
    # True is an int to Python and a mistake here.
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigurationError(
            f"{option}={value!r} is no whole number of at least {least}. Pass one; {none}."
        )


def _check_seconds(option: str, value: object, none: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        raise ConfigurationError(
            f"{option}={value!r} is no number of seconds above 0. Pass one; {none}."
        )
    return float(value)


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
