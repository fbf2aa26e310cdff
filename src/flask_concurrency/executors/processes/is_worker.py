"""Remember whether this process is a worker. Knows neither pools nor tasks.

Inside a worker a :class:`ProcessExecutor` starts no workers of its own: a task that uses the pool
it runs in would wait for a worker that waits for it, and two levels of pools would fill the
machine with processes. It runs such a task where it is, at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_worker = False
_loading_main = False


def mark_worker() -> None:
    """Note that this process is a worker, or will be copied into workers."""
    global _worker
    _worker = True


def in_worker() -> bool:
    """Whether this process is a worker of ``concurrency.processes``, or will be forked into some.

    For what a module must not do there: start a scheduler, open connections.

    .. code-block:: python

        if not flask_concurrency.in_worker():
            scheduler.start()
    """
    return _worker


@contextmanager
def loading_main() -> Iterator[None]:
    """Note that the script that was run in the owner is being imported."""
    global _loading_main
    _loading_main = True
    try:
        yield
    finally:
        _loading_main = False


def is_loading_main() -> bool:
    """Whether that import is going on, so that whatever runs now lacks a ``__main__`` guard."""
    return _loading_main
