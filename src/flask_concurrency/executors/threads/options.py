"""Decide which options of a thread executor are valid. Starts nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from flask_concurrency.executors.options import WhenFull, _require_int, require_seconds
from flask_concurrency.runtime.timer_thread import Timekeeper
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ThreadOptions:
    """Checked options; see :class:`ThreadExecutor` for what they mean."""

    max_workers: int
    max_queue: int | None
    when_full: WhenFull
    drain_timeout: float | None
    name: str
    thread_name_prefix: str | None
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    on_first_task: Callable[[], object]
    clock: Clock
    timekeeper: Timekeeper


def default_workers() -> int:
    """Threads at most, unless told otherwise.

    The formula of ``ThreadPoolExecutor`` since Python 3.8 (bpo-35279): some threads that wait for
    I/O even on one processor, and not hundreds on a machine with many.
    """
    count: Callable[[], int | None] = getattr(os, "process_cpu_count", os.cpu_count)
    return min(32, (count() or 1) + 4)


def check_options(options: ThreadOptions) -> ThreadOptions:
    """Return ``options`` if they are valid.

    :raises ConfigurationError: One is wrong; the message names it, its value and the remedy.
    """
    _require_int("max_workers", options.max_workers, at_least=1, instead="None for the default")
    if options.max_queue is not None:
        _require_int("max_queue", options.max_queue, at_least=0, instead="None for no bound")
    if options.when_full not in get_args(WhenFull):
        raise ConfigurationError(
            f"when_full={options.when_full!r} is unknown. "
            "Write 'refuse' to raise QueueFull at once, or 'wait' to wait for a place."
        )
    if options.drain_timeout is not None:
        require_seconds("drain_timeout", options.drain_timeout, instead="None to wait for all")
    if not isinstance(options.name, str) or not options.name:
        raise ConfigurationError(f"name={options.name!r} is no name. Give a text like 'threads'.")
    if options.initializer is not None and not callable(options.initializer):
        raise ConfigurationError(
            f"initializer={options.initializer!r} cannot be called. Give a function, or None."
        )
    return options
