"""Decide what follows from what a worker sends, and what it is sent next.

Knows nothing of how workers are started. The rules that every line here keeps are in
``readers.py``: the calling thread holds the workers in its round.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from typing import Any

from flask_concurrency.executors.processes import wire
from flask_concurrency.executors.processes.failure_messages import too_late
from flask_concurrency.executors.processes.payloads import decode_error, decode_result
from flask_concurrency.executors.processes.readers import NO_REPLY, Desk, Round
from flask_concurrency.executors.processes.records import Task, WorkerRecord
from flask_concurrency.executors.processes.schedule import Roster
from flask_concurrency.executors.processes.shared_memory.owner_side import open_reply
from flask_concurrency.executors.processes.shared_memory.segment_pool import Arena
from flask_concurrency.executors.processes.supervisor import Staff
from flask_concurrency.executors.processes.watch import Watch
from flask_concurrency.executors.processes.wire import RESULT, Received, wait_readable
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import DeadlineExceeded, ExecutorError


class Exchange:
    """What the threads of a process and the workers of one pool say to one another."""

    def __init__(
        self,
        lock: threading.Lock,
        roster: Roster,
        desk: Desk,
        staff: Staff,
        watch: Watch,
        arena: Arena,
    ) -> None:
        self._lock = lock
        self._roster = roster
        self._desk = desk
        self._staff = staff
        self._watch = watch
        self._arena = arena

    def read(self, round: Round, timeout: float | None) -> None:
        """Wait for what the held workers owe, and act on what comes first."""
        if len(round.held) == 1:  # as for most that wait
            (worker,) = round.held
            if worker.channel.await_reply(timeout):
                self.serve(round, worker)
            return
        readable = wait_readable([worker.channel for worker in round.held], timeout)
        for worker in tuple(round.held):
            if worker.channel in readable:
                self.serve(round, worker)

    def serve(self, round: Round, worker: WorkerRecord) -> None:
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
        if worker.dismissed:  # its task's time was up, and nobody wants the answer
            return None
        if kind == wire.START_FAILED:
            return self._staff.lose_start(round, worker, payload.decode(errors="replace"))
        now = monotonic()
        if kind == wire.READY and not worker.ready:
            with self._lock:
                worker.ready = True
                self._roster.free(worker, now)
        elif task is not None and number == task.number and not worker.channel.pending:
            with self._lock:
                if worker.dismissed:
                    return None
                worker.replies += 1
                worn = bool(kind & wire.WORN) or self._roster.is_worn(worker)
                if worn:
                    self._roster.unassign(worker)
                else:
                    self._roster.free(worker, now)
                self._roster.durations.record(*task.times(now))
                round.end(task, kind & ~wire.WORN, payload)
            if worn:
                return self._staff.retire(round, worker)
        else:
            self._staff.kill(worker, "it sent what it was not asked for")
            return self._staff.bury(round, worker)
        if worker.holder is round:
            self.dispatch(round, worker)
        return None

    def dispatch(self, round: Round, worker: WorkerRecord) -> None:
        """Send a worker the task it was given; if that is wanted no more, the next one."""
        task = self._start(round, worker)
        if task is None:
            return
        ahead = b"" if task.deadline is None else wire.until(task.deadline.at)
        try:
            worker.channel.send(wire.CALL, task.number, task.payload, ahead=ahead)
        except OSError:
            self._staff.bury(round, worker, unread=True)
        except BaseException:
            self._staff.kill(worker, "the thread that sent its task was interrupted")
            raise

    def end(self, round: Round) -> None:
        """Give the workers of a round up, and complete the tasks that it has brought to an end."""
        if round.held:
            self._desk.give_up(round)
        if self._roster.queue and self._roster.idle:
            self._hand_out()
        if self._roster.closing:
            self._watch.wake()
        while round.ended:
            try:
                self.complete(round.ended.pop(0))
            except BaseException:
                self.end(round)
                raise

    def complete(self, task: Task) -> None:
        """Complete a task by its ending, unless a thread that waits for it was faster."""
        with self._lock:
            ending, task.ending = task.ending, None
        if ending is not None:
            complete(task, *ending, self._arena)

    def _start(self, round: Round, worker: WorkerRecord) -> Task | None:
        """Settle what a worker is to do now; ``None`` if there is nothing, so that it is idle."""
        now = monotonic()
        with self._lock:
            while True:
                task = worker.task
                if task is not None:
                    if task.deadline is None or task.deadline.at > now:
                        task.started_at = now
                        return task
                    round.end(task, NO_REPLY, too_late(task))
                # Else it was cancelled on its way.
                if not self._roster.free(worker, now):
                    return None

    def _hand_out(self) -> None:
        """Give tasks that came back to workers that are idle meanwhile."""
        round = Round()
        with self._lock:
            for worker in self._roster.match():
                round.take(worker)
        try:
            for worker in tuple(round.held):
                self.dispatch(round, worker)
        finally:
            self.end(round)


def complete(task: Task, kind: int, content: Any, arena: Arena) -> None:
    """Complete a future, by a worker's message or by an error made in this process.

    :param kind: Kind of the message, or ``NO_REPLY``.
    :param content: Payload of the message, or the error.
    :param arena: Where large buffers of the result are.
    """
    if task.finished:  # cancelled
        return
    future = task.future
    try:
        value, error = _open(task, kind, content, arena)
    except BaseException:  # an exception of a signal handler; whoever else waits must not hang
        task.count = "failed"
        with suppress(InvalidStateError):
            future.set_exception(
                ExecutorError(f"The reading of {task.name!r}'s result was interrupted.")
            )
        raise
    task.payload = b""  # gives shared memory back, whoever else still holds the task
    try:
        if error is None:
            task.count = "done"
            future.set_result(value)
        else:
            expired = kind == NO_REPLY and isinstance(error, DeadlineExceeded)
            task.count = "expired" if expired else "failed"
            future.set_exception(error)
    except InvalidStateError:  # cancelled while its result was unpickled
        return


def _open(task: Task, kind: int, content: Any, arena: Arena) -> tuple[Any, BaseException | None]:
    try:
        if kind == NO_REPLY:
            return None, content
        stream = content
        buffers: Sequence[memoryview] = ()
        if isinstance(content, Received):
            stream, buffers = open_reply(content, task.payload, task.name, arena)
        if kind == RESULT:
            return decode_result(stream, task.fn, buffers), None
        return None, decode_error(stream, task.fn)
    except Exception as error:
        return None, error
