"""Decide which thread does what for a task, and carry out what the schedule orders.

The rules of who may use a worker's channel are in ``readers.py``; every change of state is a verb
of ``schedule.py``.

An exception may strike the calling thread at any line: Ctrl-C, the handler of a signal, a server's
time limit. Each entry point that changes anything hands its turn to the background thread then
(:meth:`Pool._interrupted`), which no such handler runs on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures._base import CANCELLED, FINISHED
from functools import partial
from typing import Any, Final

from flask_concurrency.executors.processes.background_reader import BackgroundReader
from flask_concurrency.executors.processes.failure_messages import (
    died,
    no_place_in_time,
    not_started,
    start_failure,
    too_late,
)
from flask_concurrency.executors.processes.options import ProcessOptions
from flask_concurrency.executors.processes.readers import BackgroundTurn, Readers, Turn
from flask_concurrency.executors.processes.records import DONE, Task, Worker
from flask_concurrency.executors.processes.replies import settle
from flask_concurrency.executors.processes.schedule import UNASKED, Orders, Schedule
from flask_concurrency.executors.processes.shared_memory.segment_pool import SegmentPool
from flask_concurrency.executors.processes.shared_memory.shared_arrays import Content
from flask_concurrency.executors.processes.snapshot import ProcessSnapshot
from flask_concurrency.executors.processes.supervisor import Supervisor
from flask_concurrency.executors.processes.watch import make_watch
from flask_concurrency.executors.processes.wire import (
    CALL,
    READ_CAN_WAIT,
    START_FAILED,
    until,
    wait_readable,
)
from flask_concurrency.executors.task_end import OnTaskEnd, TaskEnd
from flask_concurrency.executors.waiting_line import turn_away
from flask_concurrency.runtime.at_exit import call_after_threads
from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.runtime.gevent_patch import refuse_late_patch
from flask_concurrency.runtime.timer_thread import timekeeper
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import (
    DeadlineExceeded,
    ExecutorError,
    ExecutorShutdown,
    QueueFull,
    WorkerDied,
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
        self,
        options: ProcessOptions,
        on_first_task: Callable[[], object] = lambda: None,
        on_task_end: OnTaskEnd | None = None,
    ) -> None:
        self.options = options
        self._on_first_task = on_first_task
        self._on_task_end = on_task_end
        self.segments = SegmentPool(options.max_shared_memory)
        self._lock = threading.Lock()
        self._schedule = Schedule(options, too_late)
        self._abandoned = False
        self._open = False
        # Itself, not by its executor, which may be gone while the pool finishes its work.
        call_in_child(self, Pool._reset_after_fork)

    # --- what futures and the executor ask for ---

    def submit(self, tasks: Sequence[Task], *, waits: bool = False) -> None:
        """Take tasks; those for which a worker is idle are there when this returns.

        :param tasks: One, or some of a batch. Only the first task of a batch can be refused.
        :param waits: The caller can wait for a slot. Otherwise a full queue refuses.
        :raises QueueFull: ``max_queue`` tasks are waiting.
        :raises ExecutorShutdown: No more tasks are taken.
        """
        turn = Turn()
        try:
            with self._lock:
                if self._schedule.closing:
                    raise self._shut_down_error()
                if not self._open:
                    self._start()
                orders = self._schedule.submit(tasks, turn, monotonic(), waits=waits)
                turn.held = (*turn.held, *orders.send, *orders.start)
                if tasks[0].deadline is not None:
                    self._set_alarms(tasks)
            if orders.send or orders.start or orders.finish:
                self._carry_out(turn, orders)
                self._end_turn(turn)
        except (QueueFull, ExecutorShutdown, WorkerStartFailed) as error:
            if self._on_task_end is not None and isinstance(error, QueueFull):
                self._on_task_end(TaskEnd("refused"))
            raise  # before anything was changed
        except BaseException:
            self._interrupted(turn)
            raise

    def drive(self, task: Task, timeout: float | None) -> None:
        """Do what there is to do until a task is finished, or for ``timeout`` seconds.

        :raises ExecutorError: The task belongs to the process that this one was forked from.
        """
        end_at = None if timeout is None else monotonic() + timeout
        while not task.finished:
            if self._abandoned:
                raise self._other_process_error()
            turn = Turn()
            signal: threading.Lock | None = None
            try:
                with self._lock:
                    if task.finished:
                        return
                    worker = task.worker
                    if worker is None and task.ended_here:
                        # So that it does not wait for the background thread, which settles it too.
                        turn.ended = (task,)
                    elif worker is None or not self._readers.claim_with_others(worker, turn):
                        signal = task.signal()
                left = None if end_at is None else min(max(0.0, end_at - monotonic()), _LONGEST)
                if turn.ended:
                    self._end_turn(turn)
                elif signal is None:
                    self._read(turn, left)
                    self._end_turn(turn)
                else:
                    self._sleep(task, signal, left)
            except BaseException:
                self._interrupted(turn)
                raise
            if end_at is not None and monotonic() >= end_at:
                return

    def finish(self, task: Task) -> None:
        """Forget a task whose future is done.

        If it was cancelled while it ran, that is the end of its worker.
        """
        future = task.future
        state = future._state  # it is done, and stays as it is
        cancelled = state != FINISHED
        if state == CANCELLED:  # not yet by an interrupted thread
            future.set_running_or_notify_cancel()  # notifies wait() and as_completed()
        if not self._abandoned:
            turn = Turn()
            try:
                with self._lock:
                    first = not task.finished
                    orders = self._schedule.finished(task, turn, monotonic(), cancelled=cancelled)
                    if orders.send or orders.start:
                        turn.held = (*turn.held, *orders.send, *orders.start)
                if task.alarm is not None:
                    task.alarm.cancel()
                told = self._on_task_end
                if told is not None and first and (told.counts or task.count != "done"):
                    error = None if cancelled else future.exception(timeout=0)
                    told(_end_of(task, error, monotonic()))
                    del error
                if cancelled or orders.send or orders.finish:
                    self._carry_out(turn, orders)
                    self._end_turn(turn)
                if self._open and (self._schedule.closing or self._background.waits_inside):
                    self._watch.wake()
            except BaseException:
                self._interrupted(turn)
                raise
        future.task = None  # it holds the future: the result shall not live in a cycle

    def withdraw(self, task: Task) -> bool:
        """Take a task back that waits, and return whether it did. It is to be cancelled then."""
        if self._abandoned:
            return True
        with self._lock:
            return self._schedule.withdraw(task)

    def read_soon(self, task: Task) -> None:
        """Have the reply to a task read as soon as it comes, if need be in the background."""
        if not self._abandoned:
            with self._lock:
                self._readers.read_soon(task)

    def call_back(self, fn: Callable[[Future[Any]], object], future: Future[Any]) -> None:
        """Call an application's callback on the background thread, or here if that has ended."""
        if self._abandoned or not self._background.call(partial(fn, future)):
            fn(future)

    def interrupted(self) -> None:
        """Have the background thread mend what the calling thread was about."""
        self._interrupted(Turn())

    def shutdown(self, wait: bool, cancel_futures: bool) -> None:
        """Take no more tasks, and end the workers once those that were taken are done."""
        if self._abandoned:
            return
        with self._lock:
            turned_away = self._schedule.close()
            waiting = self._schedule.waiting() if cancel_futures else []
            for task in waiting:
                self._schedule.withdraw(task)
        for task in waiting:
            task.future.cancel()
        for task, slot in turned_away:
            turn_away(slot, self._shut_down_error())
            task.future.cancel()
        self.close_soon()
        if not wait:
            return
        with self._lock:
            unfinished = list(self._schedule.tasks.values())
        for task in unfinished:
            self.drive(task, None)
        if self._open:
            self._background.join()

    def drain(self, timeout: float) -> list[str]:
        """Take no more tasks, and end what is not done ``timeout`` seconds later.

        :returns: Names of the tasks that were ended, which are also logged.
        """
        end_at = monotonic() + timeout
        self.shutdown(wait=False, cancel_futures=False)
        with self._lock:
            unfinished = list(self._schedule.tasks.values())
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
            self._background.join()
        return left

    def kill_workers(self, reason: str) -> None:
        """Take no more tasks, cancel those that wait, and kill the workers."""
        self.shutdown(wait=False, cancel_futures=True)
        turn = Turn()
        with self._lock:
            orders = Orders()
            for worker in tuple(self._schedule.workers.values()):
                orders.kill += self._schedule.kill(worker, reason).kill
        self._carry_out(turn, orders)

    def close_soon(self) -> None:
        """Shut down without waiting; takes no lock, so that a finalizer may call it anywhere."""
        self._schedule.closing = True
        if self._open:
            self._watch.wake()

    def _reset_after_fork(self) -> None:
        """Give everything up in a forked child, and leave the parent's workers alone.

        Takes no lock: a thread that does not exist here may hold it. Afterwards no method does.
        """
        self._abandoned = True
        open_pools.discard(self)
        if self._open:
            for worker in (*self._schedule.workers.values(), *self._schedule.leaving.values()):
                if hasattr(worker, "channel"):
                    worker.channel.drop()
            self._supervisor.abandon()
            self._watch.close()

    def share(self, array: Any, *, copies: bool) -> Any:
        """Return an array as one that many tasks see.

        :param copies: They run in this process, so a read-only copy will do.
        :raises TypeError: It is no array of plain items.
        :raises ExecutorError: There is no room, or no memory, for it.
        :raises ExecutorShutdown: The executor was shut down.
        """
        if self._schedule.closing:
            raise self._shut_down_error()
        if copies:
            return Content(array).copied()
        try:
            return self.segments.share(array)
        except OSError as error:
            raise ExecutorError(
                f"{self.options.name!r} cannot share an array: {error.strerror}. Drop arrays that "
                "tasks no longer need, or raise 'max_shared_memory'."
            ) from error

    def snapshot(self) -> ProcessSnapshot:
        """Copy the counts."""
        if self._abandoned:
            return ProcessSnapshot()
        with self._lock:
            return self._schedule.snapshot()

    @property
    def closing(self) -> bool:
        """Whether it takes no more tasks."""
        return self._schedule.closing

    @property
    def is_background_thread(self) -> bool:
        """Whether the caller runs in a callback, on the thread that reads what workers send."""
        return self._open and self._background.is_this_thread()

    # --- a turn: read, carry out, settle ---

    def _read(self, turn: Turn, timeout: float | None) -> None:
        """Wait for what the held workers owe, and act on what comes first."""
        if len(turn.held) == 1:  # as for most that wait
            # A read waits, too: with ``poll`` before it, a call takes 5 µs more of 57
            # (``./scripts/bench processes-1``).
            if (timeout is None and READ_CAN_WAIT) or turn.held[0].channel.await_reply(timeout):
                self._receive(turn, turn.held[0])
            return
        readable = wait_readable([worker.channel for worker in turn.held], timeout)
        for worker in turn.held:
            if worker.channel in readable:
                self._receive(turn, worker)

    def _receive(self, turn: Turn, worker: Worker) -> None:
        """Read the message that a worker owes, and give the worker what comes next."""
        channel = worker.channel
        try:
            frame = channel.peek()
        except ConnectionResetError:
            return self._reap(turn, worker, unread=True)
        except (OSError, EOFError):
            return self._reap(turn, worker)
        if frame is None:
            return self._reap(turn, worker)
        kind, number, content = frame
        if kind == START_FAILED:
            return self._start_failed(turn, worker, bytes(content).decode(errors="replace"))
        with self._lock:
            orders = self._schedule.answered(worker, kind, number, content, turn, monotonic())
            if channel.consume():  # more than one message has come
                orders.kill += self._schedule.kill(worker, UNASKED).kill
            turn.held = (*turn.held, *orders.send, *orders.start)
        self._carry_out(turn, orders)
        return None

    def _carry_out(self, turn: Turn, orders: Orders) -> None:
        """Do what the schedule has ordered. The one place with effects."""
        if orders.finish:
            turn.ended = (*turn.ended, *orders.finish)
        # First these, which end the wait of a caller that reads the channel; to start a successor
        # takes milliseconds (``bench workers-deadline``).
        for worker in orders.kill:
            self._supervisor.kill(worker)
        for worker in orders.close:
            self._close_channel(turn, worker)
        for worker in orders.send:
            self._send(turn, worker)
        for worker in orders.start:
            reason = self._supervisor.start(worker)
            if reason is not None:
                self._start_failed(turn, worker, reason)

    def _send(self, turn: Turn, worker: Worker) -> None:
        """Send a worker its task."""
        task, channel = worker.task, worker.channel
        if task is None or worker.gone:  # cancelled meanwhile
            return
        try:
            if channel.begun == task.number:  # by a thread that was interrupted
                channel.flush()
            else:
                ahead = b"" if task.deadline is None else until(task.deadline.at)
                channel.send(CALL, task.number, task.payload, ahead=ahead)
        except OSError:
            self._reap(turn, worker, unread=True)

    def _reap(self, turn: Turn, worker: Worker, *, unread: bool = False) -> None:
        """Part with a worker whose channel has ended, and which ``turn`` holds."""
        if not worker.gone:
            self._supervisor.wait_for_exit(worker)
        if not worker.ready and not worker.gone:
            return self._start_failed(turn, worker, start_failure(worker))
        task = worker.task
        error = None if task is None else died(self.options, worker, task.name)
        with self._lock:
            orders = self._schedule.lost(worker, error, turn, monotonic(), unread=unread)
            turn.held = (*turn.held, *orders.send, *orders.start)
        self._carry_out(turn, orders)
        return None

    def _start_failed(self, turn: Turn, worker: Worker, reason: str) -> None:
        if worker.start_again:
            with self._lock:
                orders = self._schedule.start_again(worker, turn)
                turn.held = (*turn.held, *orders.start)
            return self._carry_out(turn, orders)
        message = not_started(self.options, worker, reason)
        with self._lock:
            orders = self._schedule.start_failed(worker, WorkerStartFailed(message), turn)
            others = bool(self._schedule.workers)
        if others:
            logger.warning("%s", message)
        self._carry_out(turn, orders)
        return None

    def _close_channel(self, turn: Turn | None, worker: Worker) -> None:
        """Close a gone worker's channel; if another turn holds it, that one does so at its end."""
        with self._lock:
            if worker.reader is not None and worker.reader is not turn:
                worker.channel.stop_reading()
                return
            if worker.launched:
                self._readers.remove(worker)
            worker.reader = None
            worker.close()
            self._schedule.leaving.pop(worker.number, None)

    def _end_turn(self, turn: Turn) -> None:
        """Release what a turn still holds, and complete the futures whose endings it has read."""
        for worker in turn.held:
            if worker.reader is turn:
                with self._lock:
                    gone = self._readers.release(turn)
                for each in gone:
                    self._close_channel(None, each)
                break
        if self._schedule.closing:
            self._watch.wake()
        self._settle_all(turn)

    def _settle_all(self, turn: Turn) -> None:
        while turn.ended:
            self._settle(turn.ended[0])
            turn.ended = turn.ended[1:]

    def _settle(self, task: Task) -> None:
        if task.slot is not None and not task.slot.done() and task.ending is not None:
            error = task.ending[1]
            if isinstance(error, DeadlineExceeded):  # it stood in line, and was never queued
                error = no_place_in_time(self.options)
            turn_away(task.slot, error)
        future = task.future
        try:
            # Else it was cancelled, or completed by a thread that was interrupted then.
            if future._state not in DONE:
                settle(task, self.segments)
        finally:
            if future._state in DONE:
                self.finish(task)

    # --- on other threads ---

    def _interrupted(self, turn: Turn) -> None:
        """Hand a turn over that an exception has cut short."""
        if self._open and not self._abandoned:
            self._background.call(partial(self._mend, turn))

    def _mend(self, struck: Turn) -> None:
        """Go on where an interrupted thread stopped, on the background thread."""
        turn = BackgroundTurn()
        with self._lock:
            orders = self._schedule.mend(struck, turn, monotonic())
            schedule = self._schedule
            known = (*schedule.workers.values(), *schedule.leaving.values())
            turn.held = tuple(worker for worker in known if worker.reader is turn)
            self._readers.mend(schedule.workers.values())
            self._set_alarms(schedule.tasks.values())
        self._carry_out(turn, orders)
        for worker in turn.held:
            # What the thread had read of a message is in the channel, which nothing wakes for it.
            if worker.owes and worker.channel.has_read:
                self._receive(turn, worker)
        self._end_turn(turn)

    def _set_alarms(self, tasks: Any) -> None:
        """Have tasks end at their deadlines; under the lock."""
        for task in tasks:
            if task.deadline is not None and task.alarm is None and task.deadline.at < float("inf"):
                try:
                    task.alarm = timekeeper.call_at(task.deadline.at, partial(self._expire, task))
                except RuntimeError:  # no thread more: it is dropped if its turn comes too late
                    return

    def _expire(self, task: Task) -> None:
        """End a task whose deadline has passed, on the timekeeper's thread."""
        turn = BackgroundTurn()
        with self._lock:
            orders = self._schedule.expired(task, turn, monotonic())
            turn.held = (*turn.held, *orders.send, *orders.start)
        if not orders:
            return
        at_once = Orders()
        at_once.kill, orders.kill = orders.kill, ()
        at_once.close, orders.close = orders.close, ()  # which wakes the caller
        self._carry_out(turn, at_once)
        # Completing may take the application's time, which the timekeeper has none of.
        follow_up = partial(self._follow_up, turn, orders)
        if not self._background.call(follow_up):  # it has ended
            follow_up()

    def _follow_up(self, turn: Turn, orders: Orders) -> None:
        """Complete what ended at its deadline, on the background thread; then start successors."""
        turn.ended, orders.finish = orders.finish, ()
        self._settle_all(turn)
        self._carry_out(turn, orders)
        self._end_turn(turn)

    def handle_ready(self, fd: int) -> None:
        """Read what a registered worker sends, on the background thread."""
        turn = BackgroundTurn()
        with self._lock:
            worker = self._readers.claim_readable(fd, turn)
        if worker is None:  # another thread was faster
            return
        try:
            # The number may have been given to a newer worker since it was found readable.
            if worker.channel.readable():
                self._receive(turn, worker)
        finally:
            self._end_turn(turn)

    def register_deferred(self) -> None:
        """Leave workers that no thread came to read to the background thread."""
        with self._lock:
            self._readers.register_deferred()

    def retire_idle(self, now: float) -> float:
        """End the workers that have been idle for long, and return when to look again."""
        with self._lock:
            orders, look_at = self._schedule.idle_too_long(now)
        self._carry_out(Turn(), orders)
        return look_at

    def close(self, *, only_if_done: bool) -> bool:
        """End the workers, once everything is done, and return whether that was so."""
        if only_if_done and not self._schedule.closing:
            return False
        with self._lock:
            if only_if_done and not self._schedule.may_close():
                return False
            orders = self._schedule.remove_all()
        self._carry_out(Turn(), orders)
        return True

    # --- small print ---

    def _start(self) -> None:
        """Start what every pool with tasks has; under the lock."""
        refuse_late_patch()
        try:
            watch = make_watch()
            # Not left to ``atexit``, which a child of ``multiprocessing`` does not run: that is
            # what the workers of some servers are.
            call_after_threads(end_open_pools)
            readers = Readers(watch)
            supervisor = Supervisor(self.options, self._lock, self._schedule, readers, watch)
            background = BackgroundReader(self.options.name, watch, supervisor, self, self._closed)
            self._watch, self._readers = watch, readers
            self._supervisor, self._background = supervisor, background
            try:
                background.start()
            except BaseException:
                background.give_up()
                raise
            open_pools.add(self)
            self._open = True
            self._on_first_task()
        except (OSError, RuntimeError) as error:  # out of descriptors or threads
            raise WorkerStartFailed(
                f"{self.options.name!r} cannot start: {error}. Raise the limit of open files and "
                "threads of this process."
            ) from error

    def _closed(self) -> None:
        self.segments.close()
        open_pools.discard(self)

    def _shut_down_error(self) -> ExecutorShutdown:
        return ExecutorShutdown(
            f"{self.options.name!r} was shut down and takes no more tasks. Submit before the "
            "shutdown, or make a new executor."
        )

    def _other_process_error(self) -> ExecutorError:
        return ExecutorError(
            f"This task of {self.options.name!r} belongs to the process that this one was "
            "forked from, and its result goes there. Submit it again in this process."
        )

    def _sleep(self, task: Task, signal: threading.Lock, timeout: float | None) -> None:
        if self.is_background_thread:  # in a callback: no other thread reads the workers meanwhile
            woken = self._background.work_until(signal, timeout)
        else:
            woken = signal.acquire(timeout=-1 if timeout is None else timeout)
        if not woken:
            with self._lock:
                task.signals = tuple(each for each in task.signals if each is not signal)


def _end_of(task: Task, error: BaseException | None, now: float) -> TaskEnd:
    waited = ran = None
    if task.started_at is not None:
        waited, ran = task.started_at - task.submitted_at, now - task.started_at
    # One that is cancelled, or late, while it runs is ended by the end of its worker.
    stopped = ran is not None and task.count in ("cancelled", "expired")
    killed = stopped or isinstance(error, WorkerDied)
    return TaskEnd(task.count, task.name, waited, ran, error, killed)


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
