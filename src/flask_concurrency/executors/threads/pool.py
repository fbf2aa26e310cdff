"""Decide what a pool takes in, what it drops, and how it closes.

Knows neither which thread runs a task nor what a task is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from math import inf
from typing import Any

from flask_concurrency.executors.threads.background import BackgroundEnd
from flask_concurrency.executors.threads.options import ThreadOptions
from flask_concurrency.executors.threads.snapshot import ThreadsSnapshot
from flask_concurrency.executors.threads.task import Batch, Task, fail_if_undone
from flask_concurrency.executors.threads.worker_loop import InitializerFailed, WorkerLoop
from flask_concurrency.executors.waiting import TaskFuture
from flask_concurrency.executors.waiting_line import Slot, is_on_loop, turn_away
from flask_concurrency.runtime.deadline import Deadline
from flask_concurrency.runtime.deadline_messages import never_started, thread_runs_on
from flask_concurrency.runtime.timer_thread import Alarm
from flask_concurrency.vocabulary.errors import (
    DeadlineExceeded,
    ExecutorShutdown,
    QueueFull,
)


class ThreadPool:
    """The threads and the queue of one executor in one process."""

    def __init__(self, options: ThreadOptions) -> None:
        self.options = options
        self._clock = options.clock
        self._workers = WorkerLoop(options)
        self._lock = self._workers.lock
        self._queue = self._workers.queue
        self._threads = self._workers.threads
        self._counters = self._workers.counters
        self._closed = False
        self._draining = False
        self.run_here_if_queued = self._workers.run_here_if_queued
        self.stop_when_idle = self._workers.stop_when_idle

    def submit(
        self,
        task: Task,
        future: Future[Any] | None,
        *,
        background: bool = False,
        awaits: bool = False,
    ) -> Slot | None:
        """Hand ``task`` to a free thread, or queue it; see the top of ``worker_loop.py``.

        :param future: The future that ``task`` settles; ``None`` where it tells a callback, and has
            no deadline.
        :param background: No caller waits for it, so it may be refused inside a task as well.
        :param awaits: The caller can wait for a slot although it is on an event loop.
        :returns: The slot the caller has to wait for, if it is not in the queue yet.
        :raises QueueFull: ``max_queue`` tasks wait already; never raised inside a task.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        """
        task.queued_at = self._clock()
        if task.deadline is not None:
            at = task.deadline.at
            if task.queued_at >= at:
                self._drop_as_late([task])
                return None
            assert future is not None
            task.alarm = self.call_at(at, partial(self.expire, [(task, future)]))
        place: Slot | None = None
        try:
            with self._lock:
                if self._closed or self._workers.failure is not None:
                    self._refuse_as_closed()
                if self._queue.free > 0 or self._workers.grow():
                    self._queue.put(task)
                    return None  # and a thread takes it up, and looks at the time
                nested = self._threads.is_here() and not background
                on_loop = is_on_loop()
                # A loop that a task of ours runs holds a thread, and could not wait for another.
                runs_here = nested and on_loop
                if not runs_here:
                    task.urgent = nested or on_loop
                    if nested:
                        _let_wait_inside(future, self._workers, task)
                    if self._queue.is_full() and not nested:
                        place = self._wait_for_place(task, awaits=awaits)
                    else:
                        self._queue.put(task)
                    self._workers.compensate()
        except BaseException:
            task.forget_alarm()
            raise
        if runs_here:
            self._workers.run(task)
            return None
        if future is None:
            return place
        # A cancelled task gives its slot in the queue, and the request it holds, back at once.
        # Added outside the lock: if the task has ended meanwhile, this calls back right here.
        Future.add_done_callback(future, partial(self._withdraw_if_cancelled, task))
        if task.deadline is not None and self.is_late(task.deadline):
            self.expire([(task, future)])  # the alarm may have come before it was in the queue
        return place

    def spawn(self, task: Task, future: TaskFuture[Any]) -> Slot | None:
        """Submit a task whose result no caller waits for, and log it if it fails."""
        self._counters.background.add(future)
        future.run_here = partial(self.run_here_if_queued, task)
        future.add_done_callback(BackgroundEnd(task, self._counters, self.options.name))
        try:
            return self.submit(task, future, background=True)
        except BaseException:
            self._counters.background.discard(future)
            raise

    def start(self, batch: Batch, tasks: Sequence[Task]) -> None:
        """Add ``tasks`` to ``batch``, and queue at most one for each thread the pool may have.

        Each of these, when it ends, passes its slot on to the next: a long ``map`` is always
        under way, does not fill the queue, and lets others have their turn in between.

        :raises QueueFull: Not one task fits; a batch once admitted is never refused.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        :raises DeadlineExceeded: There was no free slot until the deadline of the tasks.
        """
        deadline = tasks[0].deadline
        if deadline is not None and self.is_late(deadline):
            self._drop_as_late(tasks)
            return
        now, place, urgent = self._clock(), None, is_on_loop()
        with self._lock:
            if self._closed or self._workers.failure is not None:
                self._refuse_as_closed()
            for task in tasks:
                task.urgent = urgent
                batch.add(task)
            while batch.waiting and batch.queued < self.options.max_workers and self._admits(batch):
                self._queue.put(batch.next(now))
            if batch.waiting and not batch.admitted:
                first = batch.waiting[0]
                place = self._wait_for_place(first, awaits=False)
                batch.next(now)
            self._workers.compensate()
        if place is not None:
            try:
                place.result()
            except BaseException:
                self.abandon(batch, [first])
                raise

    def abandon(self, batch: Batch, tasks: Iterable[Task]) -> None:
        """Cancel what has not started of a ``map`` that is consumed no further."""
        with self._lock:
            taken = self._queue.take_out(tasks, batch)
            self._counters.drop("cancelled", len(taken))
        for task, _ in taken:
            task.drop()

    def withdraw(self, task: Task) -> None:
        """Cancel a task that has not started."""
        with self._lock:
            withdrawn = self._queue.take_out([task])
            self._counters.drop("cancelled", len(withdrawn))
        if withdrawn:
            task.drop()

    def call_at(self, at: float, callback: Callable[[], object]) -> Alarm | None:
        """Have ``callback`` called at a deadline, if that is an instant."""
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
        waiting: list[Task] = []
        for task, future in calls:
            if future.running():
                fail_if_undone(future, thread_runs_on(task.name))
            else:
                waiting.append(task)
        if not waiting and batch is None:
            return
        # One that is not here any more is with a thread that is about to look at the time.
        with self._lock:
            taken = self._queue.take_out(waiting, batch)
            self._counters.drop("expired", len(taken))
        for task, place in taken:
            error = self._dropped(task)
            task.drop(error)
            if place is not None:
                turn_away(place, error)

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        """Take no more work; see :meth:`concurrent.futures.Executor.shutdown`."""
        with self._lock:
            self._closed, self._draining = True, False
            dropped = self._workers.take_all() if cancel_futures else []
        self._turn_line_away()
        self.stop_when_idle()
        for task in dropped:
            task.drop()
        if wait:
            self._workers.join(inf)

    def drain(self, timeout: float | None) -> list[str]:
        """Take no more work from outside, and wait for what was accepted."""
        with self._lock:
            if not self._closed:
                self._closed = self._draining = True
        self._turn_line_away()
        return self._workers.finish(timeout)

    def replacement(self) -> ThreadPool:
        """A pool for a forked child: the same options, none of the work, open if this one is."""
        pool = ThreadPool(self.options)
        pool._closed = self._closed
        return pool

    def reset_after_fork(self) -> None:
        """Release everything in a forked child, whose pool is the replacement."""
        self._workers.reset_after_fork()
        self._lock, self._queue = self._workers.lock, self._workers.queue

    def snapshot(self) -> ThreadsSnapshot:
        """The state now."""
        overdue = self._counters.overdue(self._clock())
        durations = self._counters.durations.summary()
        counts = self._counters.counts
        with self._lock:
            idle = self._queue.free + len(self._queue)
            workers = len(self._threads)
            return ThreadsSnapshot(
                workers=workers,
                max_workers=self.options.max_workers,
                busy=workers - idle,
                queued=max(0, -self._queue.free),
                max_queue=self.options.max_queue,
                waiting=len(self._queue.line.standing),
                overdue=overdue,
                spawned=len(self._counters.background),
                done=counts["done"],
                failed=counts["failed"],
                cancelled=counts["cancelled"],
                expired=counts["expired"],
                refused=self._counters.refused,
                durations=durations,
            )

    # From here on: called with the lock held.

    def _refuse_as_closed(self) -> None:
        """Refuse, unless the work may be part of what a drain waits for.

        That is what tasks submit, and what coroutines do while there are tasks to wait for them.
        """
        if self._workers.failure is not None:
            raise InitializerFailed.of(self.options.name, self._workers.failure)
        if self._draining and (
            self._threads.is_here() or (self._counters.running and is_on_loop())
        ):
            return
        raise self._shut_down_error()

    def _shut_down_error(self) -> ExecutorShutdown:
        return ExecutorShutdown(
            f"{self.options.name!r} was shut down and takes no more work. "
            "Submit before shutdown(), or make a new executor."
        )

    def _wait_for_place(self, task: Task, *, awaits: bool) -> Slot:
        """Have the caller wait for a slot in the full queue, or refuse."""
        max_queue = self.options.max_queue
        assert max_queue is not None
        if self.options.when_full == "wait" and not self._threads.is_here():
            if awaits or not is_on_loop():
                return self._queue.line.join(task)
            self._counters.refuse()
            raise QueueFull(
                self.options.name,
                max_queue=max_queue,
                advice="An event loop cannot wait for a place: write 'await threads.run(...)' "
                "there.",
            )
        self._counters.refuse()
        raise QueueFull(self.options.name, max_queue=max_queue)

    def _admits(self, batch: Batch) -> bool:
        if self._queue.free > 0 or self._workers.grow():
            return True
        inside = self._threads.is_here()
        if batch.queued > 0:
            return not inside and not self._queue.is_full()
        return inside or batch.admitted or not self._queue.is_full()

    # From here on: called without the lock.

    def _drop_as_late(self, tasks: Sequence[Task]) -> None:
        """Drop tasks that came when their deadline had passed."""
        with self._lock:
            self._counters.drop("expired", len(tasks))
        for task in tasks:
            task.drop(self._dropped(task))

    def _dropped(self, task: Task) -> DeadlineExceeded:
        assert task.deadline is not None
        return never_started(task.name, self._clock() - task.deadline.at)

    def _turn_line_away(self) -> None:
        with self._lock:
            standing = self._queue.line.clear()
        for task, place in standing:
            task.drop()
            turn_away(place, self._shut_down_error())

    def _withdraw_if_cancelled(self, task: Task, future: Future[Any]) -> None:
        if future.cancelled():
            self.withdraw(task)


def _let_wait_inside(future: Future[Any] | None, workers: WorkerLoop, task: Task) -> None:
    """Let a thread of the pool wait for a nested task by any means."""
    if isinstance(future, TaskFuture):
        future.run_here = partial(workers.run_here_if_queued, task)
        future.compensate_for_waiters(workers)
