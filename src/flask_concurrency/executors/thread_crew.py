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

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from math import inf
from threading import get_ident
from typing import Any

from flask_concurrency.executors.thread_background import BackgroundFuture, log_failure
from flask_concurrency.executors.thread_books import Books
from flask_concurrency.executors.thread_lateness import dropped, log_overrun, overran
from flask_concurrency.executors.thread_lending import work_for
from flask_concurrency.executors.thread_line import Place, turn_away
from flask_concurrency.executors.thread_options import ThreadOptions
from flask_concurrency.executors.thread_queue import TaskQueue
from flask_concurrency.executors.thread_roster import Roster
from flask_concurrency.executors.thread_snapshot import ThreadsSnapshot
from flask_concurrency.executors.thread_task import Batch, Task, fail_if_undone
from flask_concurrency.executors.timekeeper import Alarm
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.deadline import Deadline
from flask_concurrency.vocabulary.errors import (
    DeadlineExceeded,
    ExecutorShutdown,
    QueueFull,
)

logger = logging.getLogger("flask_concurrency.executors")


class Crew:
    """The threads and the queue of one executor in one process.

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
        self._closed = False
        self._draining = False
        self._cancelling = False
        self._retiring = False

    @property
    def drain_timeout(self) -> float | None:
        """Seconds for which the end of the process waits for accepted tasks."""
        return self.options.drain_timeout

    def submit(
        self, task: Task, future: Future[Any], *, background: bool = False, awaits: bool = False
    ) -> Place | None:
        """Hand ``task`` to a free thread, queue it, or run it here; see the top of this file.

        :param future: The future that ``task`` settles.
        :param background: Nobody waits for it: rather refuse it than run it here.
        :param awaits: The caller can wait for a place although it is on an event loop.
        :returns: The place the caller has to wait for, if it is not in the queue yet.
        :raises QueueFull: ``max_queue`` tasks wait already; never raised inside a task.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        """
        task.queued_at = self._clock()
        if task.deadline is not None:
            if self._drops_as_late([task]):
                return None
            task.alarm = self.call_at(task.deadline, partial(self.expire, [(task, future)]))
        place: Place | None = None
        try:
            with self._lock:
                if self._closed:
                    self._refuse_as_closed()
                if self._queue.free > 0 or self._grows():
                    self._queue.put(task)
                    return None  # and a thread takes it up, and looks at the time
                inside = self._roster.is_here()
                if not inside or background:
                    task.from_loop = _is_on_loop()
                    if self._queue.is_full():
                        place = self._stand_in_line(task, awaits=awaits)
                    else:
                        self._queue.put(task)
                    self._send_spare()
        except BaseException:
            task.forget_alarm()
            raise
        if inside and not background:
            self._run(task)
        else:
            # A cancelled task gives its place in the queue, and the request it holds, back at once.
            # Added outside the lock: if the task has ended meanwhile, this calls back right here.
            future.add_done_callback(partial(self._withdraw_if_cancelled, task))
            if task.deadline is not None and self.is_late(task.deadline):
                self.expire([(task, future)])  # the alarm may have come before it was in the queue
        return place

    def spawn(self, task: Task, future: BackgroundFuture[Any]) -> Place | None:
        """Submit a task that nobody waits for, and log it if it fails."""
        name = task.name
        self._books.background.add(future)
        future.run_here = partial(self.help_with, task)
        future.add_done_callback(partial(self._background_ended, name))
        try:
            return self.submit(task, future, background=True)
        except BaseException:
            self._books.background.discard(future)
            raise

    def start(self, batch: Batch, tasks: Sequence[Task]) -> None:
        """Add ``tasks`` to ``batch``, and queue at most one for each thread the crew may have.

        Each of these, when it ends, passes its place on to the next: a long ``map`` is always
        under way, does not fill the queue, and lets others have their turn in between.

        :raises QueueFull: Not one task fits; a batch once admitted is never refused.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        :raises DeadlineExceeded: There was no place until the deadline of the tasks.
        """
        if self._drops_as_late(tasks):
            return
        now, place, from_loop = self._clock(), None, _is_on_loop()
        with self._lock:
            if self._closed:
                self._refuse_as_closed()
            for task in tasks:
                task.from_loop = from_loop
                batch.add(task)
            while batch.waiting and batch.queued < self.options.max_workers and self._admits(batch):
                self._queue.put(batch.next(now))
            if batch.waiting and not batch.admitted:
                first = batch.waiting[0]
                place = self._stand_in_line(first, awaits=False)
                batch.next(now)
            self._send_spare()
        if place is not None:
            try:
                place.result()
            except BaseException:
                self.abandon(batch, [first])
                raise

    def help_with(self, task: Task) -> None:
        """Run ``task`` here, if this thread is ours and none has taken the task up."""
        if not self._roster.is_here():
            return
        with self._lock:
            ours = self._queue.remove(task) or (task.batch is not None and task.batch.take(task))
        if ours:
            self._run(task)

    def abandon(self, batch: Batch, tasks: Iterable[Task]) -> None:
        """Cancel what has not started of a ``map`` that is consumed no further."""
        with self._lock:
            taken = self._queue.take_out(tasks, batch)
            self._books.counts["cancelled"] += len(taken)
        for task, _ in taken:
            task.drop()

    def call_at(self, deadline: Deadline, callback: Callable[[], object]) -> Alarm | None:
        """Have ``callback`` called at ``deadline``, if that is an instant."""
        at = deadline.at
        if at == inf:
            return None
        try:
            return self.options.timekeeper.call_at(at, callback)
        except RuntimeError:  # no thread more: late tasks are dropped by ours, when one is free
            return None

    def is_late(self, deadline: Deadline) -> bool:
        """Whether ``deadline`` has passed."""
        return self._clock() >= deadline.at

    def expire(self, calls: Sequence[tuple[Task, Future[Any]]], batch: Batch | None = None) -> None:
        """Settle those of ``calls`` that have not ended: their deadline has passed."""
        with self._lock:
            taken = self._queue.take_out([task for task, _ in calls], batch)
            self._books.counts["expired"] += len(taken)
        for task, place in taken:
            error = self._dropped(task)
            task.drop(error)
            if place is not None:
                turn_away(place, error)
        for task, future in calls:
            # One that neither waits nor runs is with a thread that is about to look at the time.
            if future.running():
                fail_if_undone(future, overran(task.name))

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        """Take no more work; see :meth:`concurrent.futures.Executor.shutdown`."""
        with self._lock:
            self._closed, self._draining = True, False
            dropped = self._take_all() if cancel_futures else []
        self._turn_line_away()
        self.retire()
        for task in dropped:
            task.drop()
        if wait:
            self._join(inf)

    def drain(self, timeout: float | None) -> list[str]:
        """Take no more work from outside, and :meth:`finish`."""
        with self._lock:
            if not self._closed:
                self._closed = self._draining = True
        self._turn_line_away()
        return self.finish(timeout)

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

    def successor(self) -> Crew:
        """A crew for a forked child: the same options, none of the work, open if this one is."""
        crew = Crew(self.options)
        crew._closed = self._closed
        return crew

    def desert(self) -> None:
        """Let go of everything in a forked child, where no thread but the calling one exists.

        If that one is ours, then it was a task that forked; its thread ends with the task.
        """
        self._lock = threading.Lock()  # another thread may have held it when the fork came
        self._queue = TaskQueue(self.options.max_queue)
        self.retire()

    def snapshot(self) -> ThreadsSnapshot:
        """The state now."""
        overdue, durations = self._books.overdue(self._clock()), self._books.durations.summary()
        counts = self._books.counts
        with self._lock:
            idle = self._queue.free + len(self._queue)
            workers = len(self._roster)
            return ThreadsSnapshot(
                workers=workers,
                max_workers=self.options.max_workers,
                busy=workers - idle,
                queued=max(0, -self._queue.free),
                max_queue=self.options.max_queue,
                waiting=len(self._queue.line.standing),
                overdue=overdue,
                spawned=len(self._books.background),
                done=counts["done"],
                failed=counts["failed"],
                cancelled=counts["cancelled"],
                expired=counts["expired"],
                refused=self._books.refused,
                durations=durations,
            )

    # From here on: called with the lock held.

    def _refuse_as_closed(self) -> None:
        """Refuse, unless the work may be part of what a drain waits for.

        That is what tasks submit, and what coroutines do while there are tasks to wait for them.
        """
        if self._draining and (self._roster.is_here() or (self._books.running and _is_on_loop())):
            return
        raise self._shut_down_error()

    def _shut_down_error(self) -> ExecutorShutdown:
        return ExecutorShutdown(
            f"{self.options.name!r} was shut down and takes no more work. "
            "Submit before shutdown(), or make a new executor."
        )

    def _stand_in_line(self, task: Task, *, awaits: bool) -> Place:
        """Have the caller wait for a place in the full queue, or refuse."""
        max_queue = self.options.max_queue
        assert max_queue is not None
        if self.options.when_full == "wait" and not self._roster.is_here():
            if awaits or not _is_on_loop():
                return self._queue.line.join(task)
            self._books.refused += 1
            raise QueueFull(
                self.options.name,
                max_queue=max_queue,
                advice="An event loop cannot wait for a place: write 'await threads.run(...)' "
                "there.",
            )
        self._books.refused += 1
        raise QueueFull(self.options.name, max_queue=max_queue)

    def _admits(self, batch: Batch) -> bool:
        if self._queue.free > 0 or self._grows():
            return True
        inside = self._roster.is_here()
        if batch.queued > 0:
            return not inside and not self._queue.is_full()
        return inside or batch.admitted or not self._queue.is_full()

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

    def _drops_as_late(self, tasks: Sequence[Task]) -> bool:
        """Drop ``tasks``, which have one caller, if its deadline has passed already."""
        deadline = tasks[0].deadline
        if deadline is None or not self.is_late(deadline):
            return False
        with self._lock:
            self._books.counts["expired"] += len(tasks)
        for task in tasks:
            task.drop(self._dropped(task))
        return True

    def _dropped(self, task: Task) -> DeadlineExceeded:
        assert task.deadline is not None
        return dropped(task.name, self._clock() - task.deadline.at)

    def _turn_line_away(self) -> None:
        with self._lock:
            standing = self._queue.line.clear()
        for task, place in standing:
            task.drop()
            turn_away(place, self._shut_down_error())

    def _withdraw_if_cancelled(self, task: Task, future: Future[Any]) -> None:
        if not future.cancelled():
            return
        with self._lock:
            withdrawn = self._queue.take_out([task])
            self._books.counts["cancelled"] += len(withdrawn)
        for task, _ in withdrawn:
            task.drop()

    def _background_ended(self, name: str, future: Future[Any]) -> None:
        assert isinstance(future, BackgroundFuture)
        future.run_here = None
        self._books.background.discard(future)
        log_failure(self.options.name, name, future)

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


def _is_on_loop() -> bool:
    """Whether the calling thread runs an event loop."""
    return asyncio._get_running_loop() is not None
