"""Decide what becomes of executors when their process forks or ends. Knows no worker."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING

from flask_concurrency.executors.processes.pool import end_open_pools, open_pools

if TYPE_CHECKING:
    from flask_concurrency.executors.processes.executor import ProcessExecutor

executors: weakref.WeakSet[ProcessExecutor] = weakref.WeakSet()
"""The executors of this process."""


def _after_fork_in_child() -> None:
    # Also the pools whose executor is gone and that are only finishing their work.
    for pool in tuple(open_pools):
        pool.abandon()
    open_pools.clear()
    for executor in tuple(executors):
        executor._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(end_open_pools)
