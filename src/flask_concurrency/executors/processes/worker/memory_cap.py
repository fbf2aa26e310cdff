"""Decide how much memory a worker may take, and which error it gets beyond that. Knows no channel.

What a worker may have is data: memory that it can write and that is its own. The kernel counts
that (``RLIMIT_DATA``) and refuses what would be too much, at once and however large, so that a task
meets a ``MemoryError`` before the machine runs out. The address space (``RLIMIT_AS``) would be the
wrong measure: libraries reserve much of it and use little, and shared memory counts in it. After
each task the memory in use is looked at, too, for what the kernel does not count as data.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from flask_concurrency.executors.processes.payloads import name_of
from flask_concurrency.executors.processes.worker.task_context import call_in_context
from flask_concurrency.vocabulary.errors import ConfigurationError, WorkerOutOfMemory

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_UNITS: Final = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}

EXIT_CODE: Final = 112
"""Exit code of a worker that had no memory left to report its error."""


def check_max_memory(value: object) -> int | None:
    """Read the option ``max_memory``.

    :raises ConfigurationError: It is no amount, or this platform cannot limit memory.
    """
    if value is None:
        return None
    size = _read_size(value)
    if size is None:
        raise ConfigurationError(
            f"max_memory={value!r} is no amount of memory. Pass bytes, or a text such as '512MiB'; "
            "None sets no limit."
        )
    if resource is None:
        raise ConfigurationError(
            f"max_memory={value!r} is not offered here: this platform cannot limit the memory of "
            "a process. Pass None."
        )
    return size


def _read_size(value: object) -> int | None:
    size = None
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", value.lower())
        if found is not None and found[2] in _UNITS:
            size = int(float(found[1]) * _UNITS[found[2]])
    return size if size is not None and size > 0 else None


class MemoryCap:
    """The limit of this process, if it has one.

    :param limit: Bytes; ``None`` for no limit.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._exceeded = False

    def impose(self) -> None:
        """Have the kernel refuse more, from now on.

        :raises ConfigurationError: This process has more than that before its first task.
        """
        if self._limit is None:
            return
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        taken = _in_use()
        if taken >= self._limit:
            raise ConfigurationError(
                f"max_memory={self._limit!r} is less than the {taken} bytes that a worker takes "
                "before its first task. Raise it."
            )
        limit = self._limit if most == resource.RLIM_INFINITY else min(self._limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))

    def call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call a task within the limit.

        :raises WorkerOutOfMemory: It wanted more.
        """
        if self._limit is None:
            return call_in_context(fn, args, kwargs)
        try:
            return call_in_context(fn, args, kwargs)
        except MemoryError as error:
            raise self.blame(name_of(fn), error) from error

    def blame(self, task: str, error: BaseException) -> BaseException:
        """Return the error to report for an error: itself, unless the limit is its reason."""
        if self._limit is None or not isinstance(error, MemoryError):
            return error
        self.lift()
        return WorkerOutOfMemory(out_of_memory(task, self._limit))

    def lift(self) -> None:
        """Raise this process's limit, to report that it had too much; it ends then."""
        self._exceeded = True
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    def is_exceeded(self, lent: int = 0) -> bool:
        """Whether this process takes or wanted more than it may, so that it is to be replaced.

        :param lent: Bytes in use that are its owner's.
        """
        if self._limit is None:
            return False
        return self._exceeded or _in_use() - lent > self._limit


def out_of_memory(task: str, limit: int | None) -> str:
    """Say that a task wanted too much."""
    return (
        f"{task!r} wanted more memory than a worker may take: max_memory={limit}. No other task is "
        "affected. Give it less at once, or raise 'max_memory'."
    )


def _in_use() -> int:
    """The bytes of memory that this process has in use; where unknown, that it ever had."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
