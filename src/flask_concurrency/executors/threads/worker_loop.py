"""Decide which thread runs which task, and when there is one thread more.

Knows no context variable, no event loop and no Flask: a task is something to run.

The rule that keeps nested work from deadlock
    A task may wait for tasks that it submits to its own pool, although all threads are busy with
    tasks that do the same. Such a *nested* task is queued as any other, and never refused. A thread
    of the pool that waits for its result, or takes it from a ``map``, runs it there unless a thread
    has taken it up (:meth:`WorkerLoop.run_here_if_queued`). One that waits by other means
    (``concurrent.futures.wait``, ``as_completed``, a task group) counts as blocked meanwhile; see
    the next rule. So a chain of tasks, each of which submits the next and returns, may have any
    length and is never more than one task deep on any stack.

The rule for blocked threads
    A coroutine may need a thread before it ends, and a thread may wait for a coroutine. So a thread
    that waits for a loop, or for nested tasks that it cannot run itself, no longer counts as
    working. While it does, a task that is nested, or was submitted on the thread of a loop, need
    not wait for its turn: a *compensating* thread is started for it. Such a thread takes up no
    other tasks, and ends when there are none or when those that were blocked go on. Never are more
    than ``max_workers`` threads at work, not counting blocked ones; and as no other tasks have
    compensating threads, other work cannot multiply threads.
"""

from __future__ import annotations

import threading
from concurrent.futures.thread import BrokenThreadPool
from math import inf
from threading import get_ident

from flask_concurrency.executors.threads.options import ThreadOptions
from flask_concurrency.executors.threads.parked_threads import ParkedThread
from flask_concurrency.executors.threads.snapshot import Counters
from flask_concurrency.executors.threads.task import Task
from flask_concurrency.executors.threads.task_queue import TaskQueue
from flask_concurrency.executors.threads.worker_threads import WorkerThreads
from flask_concurrency.runtime.managed_blocking import set_pool_of_thread
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import WorkerStartFailed
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.executors")


class InitializerFailed(WorkerStartFailed, BrokenThreadPool):
    """The pool's initializer raised, so that it has no threads to run tasks on."""

    @classmethod
    def of(cls, pool: str, failure: BaseException) -> InitializerFailed:
        """The error of a task that finds no thread."""
        error = cls(
            f"{pool!r} takes no tasks: its initializer raised {failure!r}. "
            "Mend that, and make a new executor."
        )
        error.__cause__ = failure
        return error


class WorkerLoop:
    """What the threads of one pool do, from their start to their end.

    The threads refer to this, never to the executor or its pool: an executor that nothing refers
    to any more is collected, and its threads end when they have nothing left to do.

    :ivar lock: Guards queue, threads and counters, for the pool as well.
    :ivar queue: What waits for a thread.
    :ivar threads: Those that there are.
    :ivar counters: What runs, and how tasks ended.
    :ivar failure: What the initializer of a thread has raised.
    """

    def __init__(self, options: ThreadOptions) -> None:
        self.options = options
        self.lock = threading.Lock()
        self.queue = TaskQueue(options.max_queue)
        self.threads = WorkerThreads(options)
        self.counters = Counters(options.on_task_end)
        self._clock = options.clock
        self.failure: BaseException | None = None
        self._waiters: dict[int, int] = {}
        self._cancelling = False
        self._stopping = False

    @property
    def drain_timeout(self) -> float | None:
        """Seconds for which the end of the process waits for accepted tasks."""
        return self.options.drain_timeout

    def run_here_if_queued(self, task: Task) -> None:
        """Run ``task`` here, if this thread is one of the pool's and none has taken the task up."""
        if not self.threads.is_here():
            return
        with self.lock:
            ours = self.queue.remove(task) or (task.batch is not None and task.batch.take(task))
        if ours:
            self.run(task)

    def stop_when_idle(self) -> None:
        """Let each thread end as soon as it finds nothing to do.

        Takes no lock, since a destructor calls it, in the middle of anything.
        """
        self._stopping = True
        self.queue.wake_all()

    def begin_blocking(self) -> None:
        """One of the pool's threads begins to wait for what needs another thread."""
        with self.lock:
            self.threads.blocked += 1
            self.compensate()

    def end_blocking(self) -> None:
        """It waits no longer."""
        with self.lock:
            self.threads.blocked -= 1

    def add_waiter(self, waiter: object) -> None:
        """``waiter`` of ``concurrent.futures`` begins to wait for one more task.

        Called with the lock of that task's future.
        """
        if not self.threads.is_here():
            return
        with self.lock:
            waits_for = self._waiters.get(id(waiter), 0)
            self._waiters[id(waiter)] = waits_for + 1
            if not waits_for:
                self.threads.blocked += 1
                self.compensate()

    def remove_waiter(self, waiter: object) -> None:
        """It does not wait for one of them any more; perhaps on another thread."""
        with self.lock:
            waits_for = self._waiters.pop(id(waiter), 0)
            if waits_for > 1:
                self._waiters[id(waiter)] = waits_for - 1
            elif waits_for:
                self.threads.blocked -= 1

    def finish(self, timeout: float | None) -> list[str]:
        """Wait for the accepted tasks, and stop the threads.

        What is still queued after ``timeout`` is cancelled; what runs then, runs on.

        :param timeout: Seconds to wait at most; ``None`` waits for all.
        :returns: Names of the tasks that were left behind, which are also logged.
        """
        self.stop_when_idle()
        self.join(inf if timeout is None else monotonic() + timeout)
        with self.lock:
            dropped = self.take_all() if timeout is not None else []
        behind = self.counters.running_elsewhere() + [task.name for task in dropped]
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

    def reset_after_fork(self) -> None:
        """Release everything in a forked child, where no thread but the calling one exists.

        If that one is the pool's, then a task of it forked; the thread ends with the task.
        """
        self.lock = threading.Lock()  # another thread may have held it when the fork came
        self.queue = TaskQueue(self.options.max_queue)
        self.stop_when_idle()

    # From here on: called with the lock held.

    def grow(self) -> bool:
        """Start one thread more if there may be one, and return whether a thread is free now."""
        if not self.threads.add_worker(self, self._work):
            return False
        self.queue.free += 1
        return self.queue.free > 0

    def compensate(self) -> None:
        """Start a thread in place of a blocked one, if a task waits that may have it."""
        if not self.threads.blocked or self.threads.are_too_many(with_one_more=True):
            return
        if self.queue.has_urgent():
            try:
                self.threads.add_compensating(self._compensate)
            except RuntimeError:
                logger.exception("%r cannot start a compensating thread", self.options.name)

    def take_all(self) -> list[Task]:
        """Take everything out that has not started, to be cancelled."""
        self._cancelling = True
        taken = self.queue.take_all()
        self.counters.drop("cancelled", len(taken))
        return taken

    # From here on: called without the lock.

    def join(self, give_up_at: float) -> None:
        """Wait until every thread but the calling one has ended, or until an instant."""
        me = threading.current_thread()
        while (left := give_up_at - monotonic()) > 0:
            with self.lock:
                others = [thread for thread in self.threads.all() if thread is not me]
            if not others:
                return
            others[0].join(min(left, threading.TIMEOUT_MAX))

    def run(self, task: Task, here: ParkedThread | None = None) -> Task | None:
        """Run ``task`` in this thread, and note how it ended.

        :param here: The thread, if it is free afterwards.
        :returns: Its next task; ``None`` if it is to park. It has one before it tells a callback
            how this one ended: from then on two threads want the interpreter.
        """
        counters = self.counters
        counters.running[task] = get_ident()
        try:
            outcome = task.run(self._clock, self.options.name)
        except BaseException:
            # Only a done callback can raise here, and only what is no Exception. The thread stays:
            # a pool that loses one at each ``sys.exit()`` would end with none.
            logger.critical(
                "A done callback of a task of %r raised", self.options.name, exc_info=True
            )
            outcome = "failed"
        finally:  # even if there is no stack left to log on, as in a task that nests for ever
            del counters.running[task]
        if outcome == "done" or outcome == "failed":
            ran = task.ended_at - task.started_at
            counters.durations.record((task.started_at - task.queued_at, ran))
        counters.tell(task, outcome)
        batch, queue = task.batch, self.queue
        orphans: list[Task] = []
        with self.lock:
            counters.counts[outcome] += 1
            if here is not None:
                queue.free += 1
            if batch is not None:
                if self._cancelling:
                    orphans = batch.clear()
                    counters.drop("cancelled", len(orphans))
                batch.queued -= 1
                if batch.waiting:
                    queue.put(batch.next(task.ended_at), wake=here is None)
            if queue.line.standing:
                queue.let_in()
            following = None if here is None else queue.take(here, woken=False)
        try:
            for orphan in orphans:
                orphan.drop()
            task.after_run()
        except BaseException:  # the thread has a task that no other would run
            logger.critical(
                "What is told of the end of a task of %r raised", self.options.name, exc_info=True
            )
        return following

    def _work(self) -> None:
        if not self._enter():
            return
        here = ParkedThread()
        task = self._take(here, woken=False)
        while True:
            while task is not None:
                task = self.run(task, here)
            # It stands among the parked, so it is woken if this changes after it has looked.
            if not self._stopping:
                here.park()
            if self._stopping and self._leave():
                return
            task = self._take(here, woken=True)

    def _take(self, here: ParkedThread, *, woken: bool) -> Task | None:
        with self.lock:
            return self.queue.take(here, woken=woken)

    def _enter(self) -> bool:
        self.threads.enter()
        set_pool_of_thread(self)
        initializer = self.options.initializer
        if initializer is None:
            return True
        try:
            initializer(*self.options.initargs)
        except BaseException as error:
            logger.critical("The initializer of %r raised", self.options.name, exc_info=True)
            with self.lock:
                self.failure = error
                dropped = self.take_all()
                self.threads.leave()
            for task in dropped:
                task.drop(InitializerFailed.of(self.options.name, error))
            return False
        return True

    def _leave(self) -> bool:
        with self.lock:
            if self.queue:
                return False
            self.threads.leave()
            self.queue.free -= 1
        self.queue.wake_all()
        return True

    def _compensate(self) -> None:
        """Run urgent tasks for as long as there are any, and a thread is blocked."""
        if not self._enter():
            return
        while (task := self._next_urgent()) is not None:
            self.run(task)
            del task

    def _next_urgent(self) -> Task | None:
        with self.lock:
            task = None if self.threads.are_too_many() else self.queue.take_urgent()
            if task is None:
                self.threads.leave()
            return task
