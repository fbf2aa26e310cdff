"""Decide which thread reads which worker, and what follows from what it reads.

Knows nothing of how workers are started. The rules that every line here keeps are in ``round.py``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import Context
from typing import Any, Final

from flask_concurrency.executors.processes import wire
from flask_concurrency.executors.processes.arena import Arena
from flask_concurrency.executors.processes.batch import Batch
from flask_concurrency.executors.processes.completion import complete
from flask_concurrency.executors.processes.desk import Desk
from flask_concurrency.executors.processes.future import ProcessFuture
from flask_concurrency.executors.processes.options import ProcessOptions
from flask_concurrency.executors.processes.roster import ProcessSnapshot, Roster
from flask_concurrency.executors.processes.round import Round
from flask_concurrency.executors.processes.staff import Hired, Staff
from flask_concurrency.executors.processes.task import Task
from flask_concurrency.executors.processes.watch import REMINDER, make_watch
from flask_concurrency.executors.processes.wire import wait_readable
from flask_concurrency.executors.processes.worker_record import WorkerRecord
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import (
    ExecutorError,
    ExecutorShutdown,
    WorkerStartFailed,
)

logger = logging.getLogger("flask_concurrency.processes")

open_pools: set[Pool] = set()
"""The pools of this process that have workers, for exits and forks."""

_LONGEST: Final = 86400.0  # a longer wait is cut into days; poll() counts in milliseconds


class Pool:
    """The workers of one executor in one process, from its first task to its shutdown.

    Construction starts nothing and opens nothing.
    """

    def __init__(self, options: ProcessOptions) -> None:
        self.options = options
        self.arena = Arena(options.max_shared_memory)
        self._lock = threading.Lock()
        self._roster = Roster(options)
        self._abandoned = False
        self._open = False

    def submit(
        self, fn: Callable[..., Any], payloads: Sequence[bytes], batch: Batch | None = None
    ) -> list[ProcessFuture[Any]]:
        """Take tasks; those for which a worker is idle are there when this returns.

        :param fn: What they call, for messages.
        :param payloads: The encoded calls.
        :param batch: The ``map`` they are part of. Only the first task of all can be refused.
        :raises QueueFull: ``max_queue`` tasks are waiting.
        :raises ExecutorShutdown: No more tasks are taken.
        """
        futures = [ProcessFuture[Any]() for _ in payloads]
        round = Round()
        hired: Hired = []
        try:
            with self._lock:
                self._check_open()
                if not self._open:
                    self._start_collecting()
                roster = self._roster
                for payload, future in zip(payloads, futures, strict=True):
                    future.attach(self, roster.admit(fn, payload, future, batch))
                for worker in roster.match():
                    round.take(worker)
                if roster.queue:
                    hired = self._staff.hire(round)
            for worker in tuple(round.held):
                if worker.task is not None:
                    self._dispatch(round, worker)
            if hired:
                self._staff.launch(round, hired)
        finally:
            self._end(round)
        return futures

    def drive(self, task: Task, timeout: float | None) -> None:
        """Do what there is to do until a task is finished, or for ``timeout`` seconds.

        :raises ExecutorError: The task belongs to the process that this one was forked from.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while True:
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
                    self._read(round, left)
            finally:
                self._end(round)
            if deadline is not None and monotonic() >= deadline:
                return

    def finish(self, future: Future[Any]) -> None:
        """Forget a task, as the first thing that happens once its future is done."""
        task = future.detach() if isinstance(future, ProcessFuture) else None
        if task is None or self._abandoned:
            return
        with self._lock:
            if task.count == "cancelled":
                self._roster.withdraw(task)  # unless it is on its way to a worker
            self._roster.counts[task.count] += 1
            task.finished = True
            del self._roster.unfinished[task.number]
            task.wake_waiters()
        if self._roster.closing:
            self._let_close()

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
            task.future.cancel()
        self._let_close()
        if not wait:
            return
        with self._lock:
            unfinished = list(self._roster.unfinished.values())
        for task in unfinished:
            self.drive(task, None)
        if self._open and threading.current_thread() is not self._collector:
            self._collector.join()

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

    def abandon(self) -> None:
        """Give everything up in a forked child, and leave the parent's workers alone.

        Takes no lock: a thread that does not exist here may hold it. Afterwards no method does.
        """
        self._abandoned = True
        if self._open:
            self._staff.abandon()
            self._watch.close()

    def snapshot(self) -> ProcessSnapshot:
        """Copy the counts."""
        if self._abandoned:
            return ProcessSnapshot()
        with self._lock:
            return self._roster.snapshot()

    @property
    def closing(self) -> bool:
        """Whether it takes no more tasks."""
        return self._roster.closing

    # --- reading and writing; whoever calls these holds the worker in its round ---

    def _read(self, round: Round, timeout: float | None) -> None:
        """Wait for what the held workers owe, and act on what comes first."""
        readable = wait_readable([worker.channel for worker in round.held], timeout)
        for worker in tuple(round.held):
            if worker.channel in readable:
                self._serve(round, worker)

    def _serve(self, round: Round, worker: WorkerRecord) -> None:
        """Read the message that a worker owes, and give the worker what comes next."""
        try:
            frame = worker.channel.receive()
        except ConnectionResetError:
            return self._staff.bury(round, worker, unread=True)
        except (OSError, EOFError):
            return self._staff.bury(round, worker)
        except BaseException:
            # An exception of a signal handler: whether the message was read is not known.
            self._staff.kill(worker, "the thread that read its reply was interrupted")
            raise
        if frame is None:
            return self._staff.bury(round, worker)
        kind, number, payload = frame
        task = worker.task
        if kind == wire.START_FAILED:
            return self._staff.lose_start(round, worker, payload.decode(errors="replace"))
        if kind == wire.READY and not worker.ready:
            with self._lock:
                worker.ready = True
                self._roster.free(worker)
        elif task is not None and number == task.number and not worker.channel.pending:
            with self._lock:
                worker.replies += 1
                worn = self._roster.is_worn(worker)
                if worn:
                    self._roster.unassign(worker)
                else:
                    self._roster.free(worker)
                round.end(task, kind, payload)
            if worn:
                return self._staff.retire(round, worker)
        else:
            self._staff.kill(worker, "it sent what it was not asked for")
            return self._staff.bury(round, worker)
        if worker.holder is round:
            self._dispatch(round, worker)
        return None

    def _dispatch(self, round: Round, worker: WorkerRecord) -> None:
        """Send a worker the task it was given; if that is cancelled, the next one."""
        while (task := worker.task) is not None and worker.holder is round:
            if task.started or task.future.set_running_or_notify_cancel():
                task.started = True
                try:
                    worker.channel.send(wire.CALL, task.number, task.payload)
                except OSError:
                    self._staff.bury(round, worker, unread=True)
                except BaseException:
                    self._staff.kill(worker, "the thread that sent its task was interrupted")
                    raise
                return
            with self._lock:
                self._roster.free(worker)

    def _end(self, round: Round) -> None:
        """Give the workers of a round up, and complete the tasks that it has brought to an end."""
        if round.held:
            self._desk.give_up(round)
        if self._roster.queue and self._roster.idle:
            self._hand_out()
        if self._roster.closing:
            self._let_close()
        while round.ended:
            task = round.ended.popleft()
            with self._lock:
                ending, task.ending = task.ending, None
            if ending is not None:  # else a thread that waits for it was faster
                try:
                    complete(task, *ending)
                except BaseException:
                    self._end(round)
                    raise

    def _hand_out(self) -> None:
        """Give tasks that came back to workers that are idle meanwhile."""
        round = Round()
        with self._lock:
            for worker in self._roster.match():
                round.take(worker)
        try:
            for worker in tuple(round.held):
                self._dispatch(round, worker)
        finally:
            self._end(round)

    # --- the collector: reads what no waiting thread reads ---

    def _start_collecting(self) -> None:
        # In an empty context: the callbacks of futures have no business with the request during
        # which the pool happened to start.
        collector = threading.Thread(
            target=Context().run,
            args=(self._collect,),
            name=f"{self.options.name}-collector",
            daemon=True,
        )
        try:
            watch = make_watch()
            self._watch = watch
            self._desk = Desk(self._lock, watch)
            self._staff = Staff(self._lock, self._roster, self._desk, watch)
            self._collector = collector
            try:
                collector.start()
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

    def _collect(self) -> None:
        while not self._may_close():
            for fd in self._watch.wait():
                try:
                    self._attend(fd)
                except BaseException:  # from a callback; no reply may be lost for it
                    logger.exception("A callback of a task of %r failed", self.options.name)
        self._close()

    def _attend(self, fd: int) -> None:
        if fd == REMINDER:
            with self._lock:
                self._desk.arm_lingering()
            return
        if self._staff.attend(fd):
            return
        round = Round(of_collector=True)
        with self._lock:
            worker = self._desk.take_armed(fd, round)
        if worker is None:  # another thread was faster
            return
        try:
            # The number may have been given to a newer worker since it was found readable.
            if worker.channel.readable():
                self._serve(round, worker)
        finally:
            self._end(round)

    def _may_close(self) -> bool:
        with self._lock:
            roster = self._roster
            held = any(worker.holder is not None for worker in roster.workers.values())
            return roster.closing and not roster.unfinished and not held

    def _close(self) -> None:
        with self._lock:
            workers = list(self._roster.workers.values())
            for worker in workers:
                self._desk.release(worker)
                self._roster.dismiss(worker)
        for worker in workers:
            worker.channel.close()  # which it takes as the end
        self._staff.stop()
        self.arena.close()
        self._watch.close()
        open_pools.discard(self)

    def _let_close(self) -> None:
        if self._open:
            self._watch.wake()

    # --- small print ---

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
