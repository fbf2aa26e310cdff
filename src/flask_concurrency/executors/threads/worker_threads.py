"""Decide how many threads a crew has, and when there is one more.

Knows no task. Guarded by the lock of the crew, except where it says otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import get_ident

from flask_concurrency.runtime.at_exit import Retirable, retire_at_exit, start_thread
from flask_concurrency.vocabulary.errors import ExecutorError


class Roster:
    """The threads of a crew.

    :param name: Names them.
    :param max_workers: How many may be at work.
    :ivar lent: Threads that wait for an event loop.
    """

    def __init__(self, name: str, max_workers: int) -> None:
        self._name = name
        self._max_workers = max_workers
        self._workers: set[threading.Thread] = set()
        self._spares: set[threading.Thread] = set()
        self._idents: set[int] = set()
        self._started = 0
        self.lent = 0

    def __len__(self) -> int:
        return len(self._workers) + len(self._spares)

    @property
    def threads(self) -> list[threading.Thread]:
        """All that have not left."""
        return [*self._workers, *self._spares]

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
        self._spares.discard(thread)
        self._idents.discard(get_ident())

    def add_worker(self, crew: Retirable, work: Callable[[], object]) -> bool:
        """Start one thread more if there may be one.

        :param crew: Whose threads these are; it retires at the end of the process.
        :raises ExecutorError: There is none, and none can be started.
        """
        if len(self._workers) >= self._max_workers:
            return False
        try:
            if not self._workers:
                retire_at_exit(crew)
            self._workers.add(self._start(work))
        except RuntimeError as error:  # the system's limit of threads, or the interpreter is ending
            if not self._workers:
                raise ExecutorError(
                    f"{self._name!r} has no thread and cannot start one: {error}. "
                    "Lower 'max_workers', or raise the system's limit of threads."
                ) from error
            return False
        return True

    def are_too_many(self, *, with_one_more: bool = False) -> bool:
        """Whether more threads are at work than may be; those that wait for a loop are not."""
        return len(self) - self.lent + with_one_more > self._max_workers

    def add_spare(self, work: Callable[[], object]) -> None:
        """Start a thread that stands in for one that waits for a loop.

        :raises RuntimeError: It cannot be started.
        """
        self._spares.add(self._start(work))

    def _start(self, work: Callable[[], object]) -> threading.Thread:
        self._started += 1
        name = f"{self._name}_{self._started}"
        # A daemon, because :mod:`at_exit` waits for it, and not for ever.
        thread = threading.Thread(target=work, name=name, daemon=True)
        start_thread(thread)
        return thread
