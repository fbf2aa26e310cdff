"""Decide which thread runs which task, and when there is one thread more.

Knows no context variable, no event loop and no Flask: a task is something to run.

The rule that keeps nested work from deadlock
    ``_free`` is the number of threads that run nothing, less the number of queued tasks. While it
    is positive, each queued task has a free thread that takes it up without waiting for anything.
    A task submitted *by a thread of the crew* is queued only if ``_free`` is positive, so it starts
    although every running task, its own parent included, may be waiting; otherwise the parent runs
    it at once, in its own thread. Either way its start depends on no other task's end, and waiting
    for it by whatever means (``result``, ``wait``, ``as_completed``) cannot be waiting in a circle.

    Work from other threads may queue without a free thread. It delays nobody inside: what the crew
    itself submits never stands behind it.

    The one exception are the tasks of a ``map`` called inside a task, which may queue like work
    from outside, because whoever consumes such a ``map`` in a thread of the crew runs what no
    thread has taken up yet (:meth:`Crew.help_with`).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import get_ident
from typing import Any, NoReturn, get_args

from flask_concurrency.executors.thread_exit import retire_at_exit, start_thread
from flask_concurrency.executors.thread_task import Batch, Outcome, Task
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.errors import ExecutorError, ExecutorShutdown, QueueFull

logger = logging.getLogger("flask_concurrency.executors")


@dataclass(frozen=True, slots=True)
class ThreadsSnapshot:
    """The state of a thread executor at one instant, and what became of its tasks so far.

    :ivar workers: Threads that exist.
    :ivar max_workers: Threads that may exist.
    :ivar busy: Threads that run a task.
    :ivar queued: Tasks that wait for a thread.
    :ivar max_queue: Tasks that may wait; ``None`` for any number.
    :ivar done: Tasks that returned.
    :ivar failed: Tasks that raised.
    :ivar cancelled: Tasks cancelled before they started.
    :ivar expired: Tasks dropped because their deadline passed before they started.
    :ivar refused: Tasks that found the queue full.
    """

    workers: int
    max_workers: int
    busy: int
    queued: int
    max_queue: int | None
    done: int
    failed: int
    cancelled: int
    expired: int
    refused: int


class Crew:
    """The threads and the queue of one executor in one process.

    Its threads refer to the crew, never to the executor: an executor that nobody uses any more
    can be collected, and its crew retires.
    """

    def __init__(self, name: str, *, max_workers: int, max_queue: int | None, clock: Clock) -> None:
        self.name = name
        self.max_workers = max_workers
        self.max_queue = max_queue
        self._clock = clock
        self._lock = threading.Lock()
        self._free = 0
        self._tasks: deque[Task] = deque()
        # One token for each task, and some more: a thread that gets a token looks for a task. The
        # tokens are for sleeping on; tasks are in a deque because they may be withdrawn from it.
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._idents: set[int] = set()
        self._started = 0
        self._counts: dict[Outcome, int] = dict.fromkeys(get_args(Outcome), 0)
        self._refused = 0
        self._closed = False
        self._cancelling = False
        self._retiring = False

    def submit(self, task: Task, future: Future[Any]) -> None:
        """Hand ``task`` to a free thread, queue it, or run it here; see the top of this file.

        :param future: The future that ``task`` settles.
        :raises QueueFull: ``max_queue`` tasks wait already; never raised inside a task.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        """
        with self._lock:
            if self._closed:
                self._refuse_as_closed()
            if self._free > 0 or self._grows():
                self._enqueue(task)
                return
            inside = get_ident() in self._idents
            if not inside:
                if self._is_full():
                    self._refuse_as_full()
                self._enqueue(task)
        if inside:
            self._run(task)
        else:
            # A cancelled task gives its place in the queue, and the request it holds, back at once.
            # Added outside the lock: if the task has ended meanwhile, this calls back right here.
            future.add_done_callback(partial(self._withdraw_if_cancelled, task))

    def start(self, batch: Batch, tasks: Iterable[Task]) -> None:
        """Add ``tasks`` to ``batch``, and queue at most one for each thread the crew may have.

        Each of these, when it ends, passes its place on to the next: a long ``map`` is always
        under way, does not fill the queue, and lets others have their turn in between.

        :raises QueueFull: Not one task fits; a batch once admitted is never refused.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        """
        with self._lock:
            if self._closed:
                self._refuse_as_closed()
            for task in tasks:
                batch.add(task)
            while batch.waiting and batch.queued < self.max_workers and self._admits(batch):
                batch.queued += 1
                batch.admitted = True
                self._enqueue(batch.waiting.popleft())

    def help_with(self, task: Task) -> None:
        """Run ``task`` of a batch here, if this thread is ours and none has taken the task up."""
        if get_ident() not in self._idents:
            return
        with self._lock:
            ours = self._remove(task) or (task.batch is not None and task.batch.take(task))
        if ours:
            self._run(task)

    def abandon(self, batch: Batch, tasks: Iterable[Task]) -> None:
        """Cancel what has not started of a ``map`` that is consumed no further."""
        with self._lock:
            dropped = [*batch.clear(), *(task for task in tasks if self._remove(task))]
            self._counts["cancelled"] += len(dropped)
        for task in dropped:
            task.cancel()

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        """Take no more work; see :meth:`concurrent.futures.Executor.shutdown`."""
        dropped: list[Task] = []
        with self._lock:
            self._closed = True
            if cancel_futures:
                self._cancelling = True
                while self._tasks:
                    task = self._tasks.popleft()
                    dropped.append(task)
                    self._free += 1
                    if task.batch is not None:
                        dropped += task.batch.clear()
                self._counts["cancelled"] += len(dropped)
            threads = list(self._threads)
        self.retire()
        for task in dropped:
            task.cancel()
        if wait:
            for thread in threads:
                if thread is not threading.current_thread():
                    thread.join()

    def retire(self) -> None:
        """Let each thread end as soon as it finds nothing to do.

        Takes no lock, since a destructor calls it, in the middle of anything.
        """
        self._retiring = True
        self._tokens.put(None)  # one thread wakes and ends, and each that ends wakes the next

    def successor(self) -> Crew:
        """A crew for a forked child: the same options, none of the work, open if this one is."""
        crew = Crew(
            self.name, max_workers=self.max_workers, max_queue=self.max_queue, clock=self._clock
        )
        crew._closed = self._closed
        return crew

    def desert(self) -> None:
        """Let go of everything in a forked child, where no thread but the calling one exists.

        If that one is ours, then it was a task that forked; its thread ends with the task.
        """
        self._lock = threading.Lock()  # another thread may have held it when the fork came
        self._tasks.clear()
        self.retire()

    def snapshot(self) -> ThreadsSnapshot:
        """The state now."""
        with self._lock:
            idle = self._free + len(self._tasks)
            return ThreadsSnapshot(
                workers=len(self._threads),
                max_workers=self.max_workers,
                busy=len(self._threads) - idle,
                queued=max(0, -self._free),
                max_queue=self.max_queue,
                done=self._counts["done"],
                failed=self._counts["failed"],
                cancelled=self._counts["cancelled"],
                expired=self._counts["expired"],
                refused=self._refused,
            )

    # From here on: called with the lock held.

    def _refuse_as_closed(self) -> NoReturn:
        raise ExecutorShutdown(
            f"{self.name!r} was shut down and takes no more work. "
            "Submit before shutdown(), or make a new executor."
        )

    def _refuse_as_full(self) -> NoReturn:
        self._refused += 1
        assert self.max_queue is not None
        raise QueueFull(self.name, max_queue=self.max_queue)

    def _is_full(self) -> bool:
        return self.max_queue is not None and -self._free >= self.max_queue

    def _admits(self, batch: Batch) -> bool:
        if self._free > 0 or self._grows():
            return True
        if batch.queued > 0:
            return get_ident() not in self._idents and not self._is_full()
        if self._is_full() and not batch.admitted and get_ident() not in self._idents:
            self._refuse_as_full()
        return True

    def _grows(self) -> bool:
        """Start one thread more if there may be one, and tell whether a thread is free now."""
        if len(self._threads) >= self.max_workers:
            return False
        self._started += 1
        thread = threading.Thread(
            target=self._work, name=f"{self.name}_{self._started}", daemon=False
        )
        try:
            if not self._threads:
                retire_at_exit(self)
            start_thread(thread)
        except RuntimeError as error:  # the system's limit of threads, or the interpreter is ending
            if not self._threads:
                raise ExecutorError(
                    f"{self.name!r} has no thread and cannot start one: {error}. "
                    "Lower 'max_workers', or raise the system's limit of threads."
                ) from error
            return False
        self._threads.add(thread)
        self._free += 1
        return self._free > 0

    def _enqueue(self, task: Task) -> None:
        self._tasks.append(task)
        self._free -= 1
        self._tokens.put(None)

    def _remove(self, task: Task) -> bool:
        try:
            self._tasks.remove(task)
        except ValueError:
            return False
        self._free += 1
        return True

    # From here on: called without the lock.

    def _withdraw_if_cancelled(self, task: Task, future: Future[Any]) -> None:
        if not future.cancelled():
            return
        with self._lock:
            withdrawn = self._remove(task)
            self._counts["cancelled"] += withdrawn
        if withdrawn:
            task.cancel()

    def _work(self) -> None:
        self._idents.add(get_ident())
        while not (self._retiring and self._leave()):
            self._tokens.get()
            try:
                task = self._tasks.popleft()
            except IndexError:  # withdrawn, or another thread was quicker
                continue
            self._run(task, 1)
            del task

    def _leave(self) -> bool:
        with self._lock:
            if self._tasks:
                return False
            self._threads.discard(threading.current_thread())
            self._idents.discard(get_ident())
            self._free -= 1
        self._tokens.put(None)
        return True

    def _run(self, task: Task, frees: int = 0) -> None:
        try:
            outcome = task.run(self._clock)
        except BaseException:
            # Only a done callback can raise here, and only what is no Exception. The thread stays:
            # a crew that loses one at each ``sys.exit()`` would end with none.
            logger.critical("A done callback of a task of %r raised", self.name, exc_info=True)
            outcome = "failed"
        batch = task.batch
        with self._lock:
            self._counts[outcome] += 1
            self._free += frees
            if batch is None:
                return
            orphans = batch.clear() if self._cancelling else []
            self._counts["cancelled"] += len(orphans)
            if batch.waiting:
                self._enqueue(batch.waiting.popleft())
            else:
                batch.queued -= 1
        for orphan in orphans:
            orphan.cancel()
