"""Decide which thread runs which task, and when there is one thread more.

Knows no context variable, no event loop and no Flask: a task is something to run.

The rule that keeps nested work from deadlock
    ``free`` is the number of threads that run nothing, less the number of queued tasks. While it
    is positive, each queued task has a free thread that takes it up without waiting for anything.
    A task submitted *by a thread of the crew* is queued only if ``free`` is positive, so it starts
    although every running task, its own parent included, may be waiting; otherwise the parent runs
    it at once, in its own thread. Either way its start depends on no other task's end, and waiting
    for it by whatever means (``result``, ``wait``, ``as_completed``) cannot be waiting in a circle.

    Work from other threads may queue without a free thread. It delays nobody inside: what the crew
    itself submits never stands behind it.

    The exceptions are the tasks of a ``map`` called inside a task, and background tasks. They may
    queue like work from outside, because whoever waits for one of them in a thread of the crew runs
    what no thread has taken up yet (:meth:`Crew.help_with`).

The rule for threads that wait for an event loop
    A coroutine may need a thread before it ends, and a thread may wait for a coroutine. So a thread
    that waits for a loop lends its right to be at work. While it does, a task that was handed in on
    the thread of a loop need not wait for its turn: a *spare* thread is started for it. A spare
    takes up no other tasks, and goes when there are none or when the lenders are back. Never are
    more than ``max_workers`` threads at work, not counting those that wait for a loop; and as tasks
    from loops are the only ones that spares run, other work cannot multiply threads.
"""

from __future__ import annotations

import threading
from math import inf
from threading import get_ident

from flask_concurrency.executors.threads.failure_messages import log_overrun
from flask_concurrency.executors.threads.options import ThreadOptions
from flask_concurrency.executors.threads.snapshot import Books
from flask_concurrency.executors.threads.task import Task
from flask_concurrency.executors.threads.task_queue import TaskQueue
from flask_concurrency.executors.threads.worker_threads import Roster
from flask_concurrency.runtime.managed_blocking import work_for
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.executors")


class WorkingCrew:
    """The threads of one executor in one process, and the tasks they take up.

    Its threads refer to the crew, never to the executor: an executor that nobody uses any more
    can be collected, and its crew retires.
    """

    def __init__(self, options: ThreadOptions) -> None:
        self.options = options
        self._clock = options.clock
        self._lock = threading.Lock()
        self._queue = TaskQueue(options.max_queue)
        self._roster = Roster(options.name, options.max_workers)
        self._books = Books()
        self._cancelling = False
        self._retiring = False

    @property
    def drain_timeout(self) -> float | None:
        """Seconds for which the end of the process waits for accepted tasks."""
        return self.options.drain_timeout

    def help_with(self, task: Task) -> None:
        """Run ``task`` here, if this thread is ours and none has taken the task up."""
        if not self._roster.is_here():
            return
        with self._lock:
            ours = self._queue.remove(task) or (task.batch is not None and task.batch.take(task))
        if ours:
            self._run(task)

    def retire(self) -> None:
        """Let each thread end as soon as it finds nothing to do.

        Takes no lock, since a destructor calls it, in the middle of anything.
        """
        self._retiring = True
        self._queue.wake()  # one thread wakes and ends, and each that ends wakes the next

    def lend(self) -> None:
        """One of our threads begins to wait for an event loop."""
        with self._lock:
            self._roster.lent += 1
            self._send_spare()

    def take_back(self) -> None:
        """It waits no longer."""
        with self._lock:
            self._roster.lent -= 1

    def finish(self, timeout: float | None) -> list[str]:
        """Wait for the accepted tasks, and send the threads home.

        What is still queued after ``timeout`` is cancelled; what runs then, runs on.

        :param timeout: Seconds to wait at most; ``None`` waits for all.
        :returns: Names of the tasks that were left behind, which are also logged.
        """
        self.retire()
        self._join(inf if timeout is None else monotonic() + timeout)
        with self._lock:
            dropped = self._take_all() if timeout is not None else []
        behind = self._books.running_elsewhere() + [task.name for task in dropped]
        for task in dropped:
            task.drop()
        if behind:
            logger.warning(
                "%r waited %.3g s for its tasks and left behind: %s",
                self.options.name,
                timeout,
                ", ".join(behind),
            )
        return behind

    # From here on: called with the lock held.

    def _grows(self) -> bool:
        """Start one thread more if there may be one, and tell whether a thread is free now."""
        if not self._roster.add_worker(self, self._work):
            return False
        self._queue.free += 1
        return self._queue.free > 0

    def _send_spare(self) -> None:
        """Start a spare thread if one of ours waits for a loop, and a task from a loop for ours."""
        if not self._roster.lent or self._roster.are_too_many(with_one_more=True):
            return
        if self._queue.has_from_loop():
            try:
                self._roster.add_spare(self._work_as_spare)
            except RuntimeError:
                logger.exception("%r cannot start a spare thread", self.options.name)

    def _take_all(self) -> list[Task]:
        """Take everything out that has not started, to be cancelled."""
        self._cancelling = True
        taken = self._queue.take_all()
        self._books.counts["cancelled"] += len(taken)
        return taken

    # From here on: called without the lock.

    def _join(self, give_up_at: float) -> None:
        """Wait until every thread but the calling one has ended, or until an instant."""
        me = threading.current_thread()
        while (left := give_up_at - monotonic()) > 0:
            with self._lock:
                others = [thread for thread in self._roster.threads if thread is not me]
            if not others:
                return
            others[0].join(min(left, threading.TIMEOUT_MAX))

    def _work(self) -> None:
        self._roster.enter()
        work_for(self)
        while not (self._retiring and self._leave()):
            task = self._queue.get()
            if task is not None:
                self._run(task, 1)
                del task

    def _leave(self) -> bool:
        with self._lock:
            if self._queue:
                return False
            self._roster.leave()
            self._queue.free -= 1
        self._queue.wake()
        return True

    def _work_as_spare(self) -> None:
        self._roster.enter()
        work_for(self)
        while (task := self._next_for_spare()) is not None:
            self._run(task)
            del task

    def _next_for_spare(self) -> Task | None:
        with self._lock:
            task = None if self._roster.are_too_many() else self._queue.take_from_loop()
            if task is None:
                self._roster.leave()
            return task

    def _run(self, task: Task, frees: int = 0) -> None:
        self._books.running[task] = get_ident()
        try:
            outcome = task.run(self._clock)
        except BaseException:
            # Only a done callback can raise here, and only what is no Exception. The thread stays:
            # a crew that loses one at each ``sys.exit()`` would end with none.
            logger.critical(
                "A done callback of a task of %r raised", self.options.name, exc_info=True
            )
            outcome = "failed"
        finally:  # even if there is no stack left to log on, as in a task that nests for ever
            del self._books.running[task]
        if task.deadline is not None:
            task.forget_alarm()
            if task.late is not None:
                log_overrun(task.name, self.options.name, task.late)
        if outcome == "done" or outcome == "failed":
            ran = task.ended_at - task.started_at
            self._books.durations.record(task.started_at - task.queued_at, ran)
        batch, queue = task.batch, self._queue
        orphans: list[Task] = []
        with self._lock:
            self._books.counts[outcome] += 1
            queue.free += frees
            if batch is not None:
                if self._cancelling:
                    orphans = batch.clear()
                    self._books.counts["cancelled"] += len(orphans)
                batch.queued -= 1
                if batch.waiting:
                    queue.put(batch.next(task.ended_at))
            if queue.line.standing:
                queue.let_in()
        for orphan in orphans:
            orphan.drop()
