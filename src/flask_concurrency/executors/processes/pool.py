"""Decide which thread does what for a task: take it, wait for it, forget it.

Knows neither messages nor how workers are started. The rules that every line here keeps are in
``readers.py``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final

from flask_concurrency.executors.processes.background_reader import Collector
from flask_concurrency.executors.processes.cancellation import Recall
from flask_concurrency.executors.processes.options import ProcessOptions
from flask_concurrency.executors.processes.readers import Desk, Round
from flask_concurrency.executors.processes.records import Batch, ProcessFuture, Task
from flask_concurrency.executors.processes.replies import Exchange
from flask_concurrency.executors.processes.schedule import Roster
from flask_concurrency.executors.processes.shared_memory.segment_pool import Arena
from flask_concurrency.executors.processes.snapshot import ProcessSnapshot
from flask_concurrency.executors.processes.supervisor import Hired, Staff
from flask_concurrency.executors.processes.watch import make_watch
from flask_concurrency.runtime.at_exit import call_after_threads
from flask_concurrency.runtime.deadline import Deadline
from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.runtime.gevent_patch import refuse_late_patch
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import (
    ExecutorError,
    ExecutorShutdown,
    WorkerStartFailed,
)
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.processes")

open_pools: set[Pool] = set()
"""The pools of this process that have workers, for exits and forks."""

_LONGEST: Final = 86400.0  # a longer wait is cut into days; poll() counts in milliseconds


class Pool:
    """The workers of one executor in one process, from its first task to its shutdown.

    Construction starts nothing and opens nothing.
    """

    def __init__(
        self, options: ProcessOptions, on_first_task: Callable[[], object] = lambda: None
    ) -> None:
        self.options = options
        self._on_first_task = on_first_task
        self.arena = Arena(options.max_shared_memory)
        self._lock = threading.Lock()
        self._roster = Roster(options)
        self._line: deque[Future[None]] = deque()
        self._abandoned = False
        self._open = False
        # Itself, not by its executor, which may be gone while the pool finishes its work.
        call_in_child(self, Pool._reset_after_fork)

    def submit(
        self,
        fn: Callable[..., Any],
        payloads: Sequence[bytes],
        batch: Batch | None = None,
        deadline: Deadline | None = None,
    ) -> list[ProcessFuture[Any]]:
        """Take tasks; those for which a worker is idle are there when this returns.

        :param fn: What they call, for messages.
        :param payloads: The encoded calls.
        :param batch: The ``map`` they are part of. Only the first task of all can be refused.
        :param deadline: Until when their results are wanted; then they fail and lose their workers.
        :raises QueueFull: ``max_queue`` tasks are waiting.
        :raises ExecutorShutdown: No more tasks are taken.
        """
        futures = [ProcessFuture[Any]() for _ in payloads]
        round = Round()
        hired: Hired = []
        now = monotonic()
        try:
            with self._lock:
                self._check_open()
                if not self._open:
                    self._start()
                roster = self._roster
                for payload, future in zip(payloads, futures, strict=True):
                    task = roster.admit(fn, payload, future, batch, deadline=deadline, now=now)
                    future.attach(self, task)
                    if deadline is not None:
                        self._recall.set_alarm(task, deadline)
                matched = roster.match()
                for worker in matched:
                    round.take(worker)
                if roster.queue:
                    hired = self._staff.hire(round)
            for worker in matched:
                self._exchange.dispatch(round, worker)
            if hired:
                self._staff.launch(round, hired)
        finally:
            if self._open:
                self._exchange.end(round)
        return futures

    def drive(self, task: Task, timeout: float | None) -> None:
        """Do what there is to do until a task is finished, or for ``timeout`` seconds.

        :raises ExecutorError: The task belongs to the process that this one was forked from.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while not task.finished:
            self._check_process()
            signal: threading.Lock | None = None
            round = Round()
            try:
                with self._lock:
                    if task.finished:
                        return
                    worker = task.worker
                    if task.ending is not None:
                        round.ended.append(task)
                    elif worker is None or not self._desk.take_with_company(worker, round):
                        signal = task.signal()
                left = None if deadline is None else min(max(0.0, deadline - monotonic()), _LONGEST)
                if signal is not None:
                    self._sleep(task, signal, left)
                elif round.held:
                    self._exchange.read(round, left)
            finally:
                self._exchange.end(round)
            if deadline is not None and monotonic() >= deadline:
                return

    def finish(self, future: Future[Any]) -> None:
        """Forget a task, as the first thing that happens once its future is done.

        If it was cancelled while it ran, that is the end of its worker.
        """
        task = future.detach() if isinstance(future, ProcessFuture) else None
        if task is None:
            return
        cancelled = future.cancelled()
        if cancelled:
            future.set_running_or_notify_cancel()  # tells wait() and as_completed() of it
        if self._abandoned:
            return
        round: Round | None = None
        with self._lock:
            if cancelled:
                task.count, round = "cancelled", Round()
                orders = self._recall.take_back(round, task, "its task was cancelled")
            self._roster.counts[task.count] += 1
            task.finished = True
            del self._roster.unfinished[task.number]
            if task.signals:
                task.wake_waiters()
            place = self._next_in_line() if self._line else None
        if task.alarm is not None:
            task.alarm.cancel()
        if round is not None:
            self._recall.carry_out(round, *orders)
        if place is not None:
            place.set_result(None)
        if self._roster.closing:
            self._let_close()

    def withdraw(self, task: Task) -> bool:
        """Take a task back that waits, and say whether it did. It is to be cancelled then."""
        if self._abandoned:
            return True
        with self._lock:
            return self._roster.withdraw(task)

    def hasten(self, task: Task) -> None:
        """Have the reply to a task read as soon as it comes, by the collector if need be."""
        if not self._abandoned:
            with self._lock:
                self._desk.hasten(task)

    def shutdown(self, wait: bool, cancel_futures: bool) -> None:
        """Take no more tasks, and end the workers once those that were taken are done."""
        if self._abandoned:
            return
        with self._lock:
            self._roster.closing = True
            waiting = self._roster.waiting() if cancel_futures else []
            for task in waiting:
                self._roster.withdraw(task)
            turned_away, self._line = self._line, deque()
        for task in waiting:
            task.future.cancel()
        for place in turned_away:
            if place.set_running_or_notify_cancel():
                place.set_result(None)  # to find it closed
        self._let_close()
        if not wait:
            return
        with self._lock:
            unfinished = list(self._roster.unfinished.values())
        for task in unfinished:
            self.drive(task, None)
        if self._open:
            self._collector.join()

    def drain(self, timeout: float) -> list[str]:
        """Take no more tasks, and end what is not done ``timeout`` seconds later.

        :returns: Names of the tasks that were ended, which are also logged.
        """
        end_at = monotonic() + timeout
        self.shutdown(wait=False, cancel_futures=False)
        with self._lock:
            unfinished = list(self._roster.unfinished.values())
        for task in unfinished:
            self.drive(task, max(0.0, end_at - monotonic()))
        left = [task.name for task in unfinished if task.future.cancel()]
        if left:
            logger.warning(
                "%r ended %d tasks that were not done %g seconds after it was told to close: %s",
                self.options.name,
                len(left),
                timeout,
                ", ".join(left),
            )
        if self._open:
            self._collector.join()
        return left

    def kill_workers(self, reason: str) -> None:
        """Take no more tasks, cancel those that wait, and kill the workers."""
        self.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            workers = list(self._roster.workers.values())
        for worker in workers:
            self._staff.kill(worker, reason)

    def close_soon(self) -> None:
        """Shut down without waiting; takes no lock, so that a finalizer may call it anywhere."""
        self._roster.closing = True
        self._let_close()

    def _reset_after_fork(self) -> None:
        """Give everything up in a forked child, and leave the parent's workers alone.

        Takes no lock: a thread that does not exist here may hold it. Afterwards no method does.
        """
        self._abandoned = True
        open_pools.discard(self)
        if self._open:
            self._staff.abandon()
            self._watch.close()

    def snapshot(self) -> ProcessSnapshot:
        """Copy the counts."""
        if self._abandoned:
            return ProcessSnapshot()
        with self._lock:
            return self._roster.snapshot(waiting=len(self._line))

    @property
    def closing(self) -> bool:
        """Whether it takes no more tasks."""
        return self._roster.closing

    # --- the line of callers that wait for a place in the queue; see ``patience.py`` ---

    def line_up(self, again: bool) -> Future[None] | None:
        """Stand in line: at its end, or at its front ``again``.

        :returns: What is done when it is worth trying; ``None`` if it is now.
        """
        with self._lock:
            if self._roster.closing or self._roster.has_room():
                return None
            place: Future[None] = Future()
            if again:
                self._line.appendleft(place)
            else:
                self._line.append(place)
            return place

    def pass_on(self) -> None:
        """Give a place that was given, and is not wanted any more, to the next in line."""
        with self._lock:
            place = self._next_in_line()
        if place is not None:
            place.set_result(None)

    def is_collecting(self) -> bool:
        """Whether the caller runs in a callback, on the thread that reads what workers send."""
        return self._open and self._collector.is_this_thread()

    def count_refused(self) -> None:
        """Count a task that is not taken."""
        with self._lock:
            self._roster.counts["refused"] += 1

    def _next_in_line(self) -> Future[None] | None:
        while self._line:
            place = self._line.popleft()
            if place.set_running_or_notify_cancel():
                return place
        return None

    # --- small print ---

    def _start(self) -> None:
        """Start what every pool with tasks has; under the lock."""
        refuse_late_patch()
        try:
            watch = make_watch()
            self._watch = watch
            self._desk = Desk(self._lock, watch)
            self._staff = Staff(self._lock, self._roster, self._desk, watch)
            self._exchange = Exchange(
                self._lock, self._roster, self._desk, self._staff, watch, self.arena
            )
            self._recall = Recall(self._lock, self._roster, self._staff, self._exchange, watch)
            self._collector = Collector(
                self._lock,
                self._roster,
                self._desk,
                self._staff,
                self._exchange,
                self._recall,
                watch,
                on_close=self._closed,
            )
            # Not left to ``atexit``, which a child of ``multiprocessing`` does not run: that is
            # what the workers of some servers are.
            call_after_threads(end_open_pools)
            try:
                self._collector.start()
            except BaseException:
                watch.close()
                raise
        except (OSError, RuntimeError) as error:  # out of descriptors or threads
            raise WorkerStartFailed(
                f"{self.options.name!r} cannot start: {error}. Raise the limit of open files and "
                "threads of this process."
            ) from error
        self._open = True
        open_pools.add(self)
        self._on_first_task()

    def _closed(self) -> None:
        self.arena.close()
        open_pools.discard(self)

    def _let_close(self) -> None:
        if self._open:
            self._watch.wake()

    def _check_open(self) -> None:
        if self._roster.closing:
            raise ExecutorShutdown(
                f"{self.options.name!r} was shut down and takes no more tasks. Submit before the "
                "shutdown, or make a new executor."
            )

    def _check_process(self) -> None:
        if self._abandoned:
            raise ExecutorError(
                f"This task of {self.options.name!r} belongs to the process that this one was "
                "forked from, and its result goes there. Submit it again in this process."
            )

    def _sleep(self, task: Task, signal: threading.Lock, timeout: float | None) -> None:
        woken = False
        try:
            woken = signal.acquire(timeout=-1 if timeout is None else timeout)
        finally:
            if not woken:
                with self._lock:
                    if signal in task.signals:
                        task.signals.remove(signal)


def end_open_pools() -> None:
    """End the pools of this process, which is about to end.

    As with the standard library's executors, what was submitted is done before; but not for ever.
    """
    pools, began_at = tuple(open_pools), monotonic()
    for pool in pools:
        pool.shutdown(wait=False, cancel_futures=False)
    for pool in pools:  # their times run side by side
        timeout = pool.options.drain_timeout
        if timeout is None:
            pool.shutdown(wait=True, cancel_futures=False)
        else:
            pool.drain(max(0.0, timeout - (monotonic() - began_at)))
