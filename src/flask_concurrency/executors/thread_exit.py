"""Decide when idle threads go home at the end of the process. Knows no task and no queue.

A process must not end before the work it accepted, so the threads of a crew are not daemons: the
interpreter waits for them. Those that sleep over an empty queue have to be told, or it waits for
ever. The standard library's pool uses a private hook of ``threading``; here one more thread, which
does nothing but wait for the main thread to end. That is public API, comes before the interpreter
joins its threads, and also happens in children of ``multiprocessing``, which run no ``atexit``.
"""

from __future__ import annotations

import os
import threading
from contextvars import Context
from typing import Protocol
from weakref import WeakSet


class Retirable(Protocol):
    """Something with threads that wait for work."""

    def retire(self) -> None:
        """Let every thread end as soon as it finds nothing to do; take no lock."""


class _Watch:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.crews: WeakSet[Retirable] = WeakSet()
        self.started = False
        self.main_ended = False

    def run(self) -> None:
        threading.main_thread().join()
        with self.lock:
            self.main_ended = True
            crews = list(self.crews)
        for crew in crews:
            crew.retire()


_watch = _Watch()


def retire_at_exit(crew: Retirable) -> None:
    """Have ``crew`` retire when the main thread ends; at once, if it has ended already.

    A crew may start threads even then, except on Python 3.12: a server whose main thread has
    returned goes on serving.

    :raises RuntimeError: No thread can be started.
    """
    with _watch.lock:
        _watch.crews.add(crew)
        if not _watch.started:
            start_thread(threading.Thread(target=_watch.run, name="await-exit", daemon=False))
            _watch.started = True
        main_ended = _watch.main_ended
    if main_ended:
        crew.retire()


def start_thread(thread: threading.Thread) -> None:
    """Start ``thread`` with no context variables of the caller.

    From Python 3.14 on a thread may inherit them for life, and with them the request that
    happened to need one more thread.
    """
    Context().run(thread.start)


def _forget_the_parent() -> None:
    global _watch
    _watch = _Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_the_parent)
