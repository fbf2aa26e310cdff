"""Decide what becomes of executors when their process forks or ends. Knows no worker."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING

from flask_concurrency.executors.processes.pool import open_pools
from flask_concurrency.vocabulary.clock import monotonic

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


def _at_exit() -> None:
    # As with the standard library's executors, what was submitted is done before the exit; but
    # not for ever.
    pools, began_at = tuple(open_pools), monotonic()
    for pool in pools:
        pool.shutdown(wait=False, cancel_futures=False)
    for pool in pools:  # their times run side by side
        timeout = pool.options.drain_timeout
        if timeout is None:
            pool.shutdown(wait=True, cancel_futures=False)
        else:
            pool.drain(max(0.0, timeout - (monotonic() - began_at)))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
