"""Decide how long the end of the process waits for threads. Knows no task and no queue.

And when the end of other executors comes: after that, because tasks on threads may need them.

A process must not end before the work it accepted, nor wait for it for ever. Neither kind of
thread does that by itself: the interpreter waits for threads without limit, and for daemons not at
all. So the threads of a pool are daemons, and one more thread, which is none, waits for them: it
does nothing until the main thread ends and, after it, whatever else the interpreter waits for. Then
it gives each pool its time. The standard library's pool uses a private hook of ``threading``; this
is public API, comes before the interpreter's end, and also happens in children of
``multiprocessing``, which run no ``atexit``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context
from typing import Protocol
from weakref import WeakSet

from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.vocabulary.clock import monotonic


class ThreadOwner(Protocol):
    """Something with threads that wait for work."""

    @property
    def drain_timeout(self) -> float | None:
        """Seconds for which the end of the process waits for its work; ``None`` for no limit."""

    def stop_when_idle(self) -> None:
        """Let every thread end as soon as it finds nothing to do; take no lock."""

    def finish(self, timeout: float | None) -> list[str]:
        """Wait until every thread has ended, and log what has not after ``timeout``."""


class _Watch:
    def __init__(self) -> None:
        self.reset_after_fork()
        call_in_child(self, _Watch.reset_after_fork)

    def reset_after_fork(self) -> None:
        """Forget the pools of the parent, and its thread."""
        self.lock = threading.Lock()
        self.pools: WeakSet[ThreadOwner] = WeakSet()
        self.beforehand: list[Callable[[], object]] = []
        self.afterwards: list[Callable[[], object]] = []
        self.started = False
        self.main_ended = False

    def start(self) -> None:
        """Begin to wait, if that has not begun; under the lock."""
        if not self.started:
            start_thread(threading.Thread(target=self.run, name="await-exit", daemon=False))
            self.started = True

    def run(self) -> None:
        threading.main_thread().join()
        with self.lock:
            self.main_ended = True
            pools = list(self.pools)
        for pool in pools:
            pool.stop_when_idle()
        if self.beforehand:  # what they close may keep a thread that the interpreter waits for
            self.finish_pools()
            for call in self.beforehand:
                call()
        _wait_for_others()
        self.finish_pools()
        for call in self.afterwards:
            call()

    def finish_pools(self) -> None:
        """Give each pool its time; their times run side by side."""
        with self.lock:
            pools = list(self.pools)
        began_at = monotonic()
        for pool in pools:
            timeout = pool.drain_timeout
            pool.finish(None if timeout is None else max(0.0, timeout - (monotonic() - began_at)))


def _wait_for_others() -> None:
    """Wait for the other threads that the interpreter waits for: they may need a pool."""
    here, main = threading.current_thread(), threading.main_thread()
    while others := [
        thread
        for thread in threading.enumerate()
        if not thread.daemon and thread is not here and thread is not main
    ]:
        others[0].join()


_watch = _Watch()


def finish_at_exit(pool: ThreadOwner) -> None:
    """Have the threads of ``pool`` stop when the main thread ends; at once, if it has ended.

    A pool may start threads even then, except on Python 3.12: a server whose main thread has
    returned goes on serving.

    :raises RuntimeError: No thread can be started.
    """
    with _watch.lock:
        _watch.pools.add(pool)
        _watch.start()
        main_ended = _watch.main_ended
    if main_ended:
        pool.stop_when_idle()


def call_after_threads(call: Callable[[], object]) -> None:
    """Have ``call`` made when the process ends, once all pools have; the same one only once.

    :raises RuntimeError: No thread can be started.
    """
    with _watch.lock:
        if call not in _watch.afterwards:
            _watch.afterwards.append(call)
        _watch.start()


def call_before_threads(call: Callable[[], object]) -> None:
    """Have ``call`` made when the process ends: once the pools have ended, before other threads.

    The same one only once.

    :raises RuntimeError: No thread can be started.
    """
    with _watch.lock:
        if call not in _watch.beforehand:
            _watch.beforehand.append(call)
        _watch.start()


def start_thread(thread: threading.Thread) -> None:
    """Start ``thread`` with no context variables of the caller.

    From Python 3.14 on a thread may inherit them for life, and with them the request that
    happened to need one more thread.
    """
    Context().run(thread.start)
