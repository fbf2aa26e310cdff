"""Decide which options of a thread executor are valid. Starts nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask_concurrency.executors.options import ExecutorOptions
from flask_concurrency.executors.task_end import OnTaskEnd
from flask_concurrency.runtime.timer_thread import Timekeeper
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadOptions(ExecutorOptions):
    """Options that check themselves; see :class:`ThreadExecutor` for what they mean.

    :raises ConfigurationError: One is wrong; the message names it, its value and the remedy.
    """

    thread_name_prefix: str | None
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    on_first_task: Callable[[], object]
    clock: Clock
    timekeeper: Timekeeper
    on_task_end: OnTaskEnd | None = None

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is made anew, and is not the class that it looks for.
        ExecutorOptions.__post_init__(self)
        if self.initializer is not None and not callable(self.initializer):
            raise ConfigurationError(
                f"initializer={self.initializer!r} cannot be called. Give a function, or None."
            )


def default_workers() -> int:
    """Threads at most, by default.

    The formula of ``ThreadPoolExecutor`` since Python 3.8 (bpo-35279): some threads that wait for
    I/O even on one processor, and not hundreds on a machine with many.
    """
    count: Callable[[], int | None] = getattr(os, "process_cpu_count", os.cpu_count)
    return min(32, (count() or 1) + 4)
