"""Decide how many threads a pool has, and when there is one more.

Knows no task. Guarded by the lock of the pool, except where it says otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import get_ident

from flask_concurrency.executors.threads.options import ThreadOptions
from flask_concurrency.runtime.at_exit import ThreadOwner, finish_at_exit, start_thread
from flask_concurrency.runtime.gevent_patch import refuse_late_patch
from flask_concurrency.vocabulary.errors import ExecutorError


class WorkerThreads:
    """The threads of a pool.

    :ivar blocked: Threads that wait for what needs another thread, such as an event loop.
    """

    def __init__(self, options: ThreadOptions) -> None:
        self._options = options
        self._workers: set[threading.Thread] = set()
        self._compensating: set[threading.Thread] = set()
        self._idents: set[int] = set()
        self._started = 0
        self.blocked = 0

    def __len__(self) -> int:
        return len(self._workers) + len(self._compensating)

    def all(self) -> list[threading.Thread]:
        """All that have not left."""
        return [*self._workers, *self._compensating]

    def is_here(self) -> bool:
        """Whether the calling thread is one of them. Takes no lock and needs none."""
        return get_ident() in self._idents

    def enter(self) -> None:
        """The calling thread is one of them from now on. Takes no lock and needs none."""
        self._idents.add(get_ident())

    def leave(self) -> None:
        """The calling thread is none of them any more."""
        thread = threading.current_thread()
        self._workers.discard(thread)
        self._compensating.discard(thread)
        self._idents.discard(get_ident())

    def add_worker(self, owner: ThreadOwner, work: Callable[[], object]) -> bool:
        """Start one thread more if there may be one.

        :param owner: Finishes the threads' work at the end of the process.
        :raises ExecutorError: There is none, and none can be started.
        """
        if len(self._workers) >= self._options.max_workers:
            return False
        if not self._workers:
            refuse_late_patch()
        try:
            if not self._workers:
                finish_at_exit(owner)
                self._options.on_first_task()
            self._workers.add(self._start(work))
        except RuntimeError as error:  # the system's limit of threads, or the interpreter is ending
            if not self._workers:
                raise ExecutorError(
                    f"{self._options.name!r} has no thread and cannot start one: {error}. "
                    "Lower 'max_workers', or raise the system's limit of threads."
                ) from error
            return False
        return True

    def are_too_many(self, *, with_one_more: bool = False) -> bool:
        """Whether more threads are at work than may be; blocked ones are not at work."""
        return len(self) - self.blocked + with_one_more > self._options.max_workers

    def add_compensating(self, work: Callable[[], object]) -> None:
        """Start a thread in place of a blocked one.

        :raises RuntimeError: It cannot be started.
        """
        self._compensating.add(self._start(work))

    def _start(self, work: Callable[[], object]) -> threading.Thread:
        self._started += 1
        name = f"{self._options.thread_name_prefix or self._options.name}_{self._started}"
        # A daemon, because :mod:`at_exit` waits for it, and not for ever.
        thread = threading.Thread(target=work, name=name, daemon=True)
        start_thread(thread)
        return thread
