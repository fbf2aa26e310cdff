"""Decide what follows from what a worker sends, and what it is sent next.

Knows nothing of how workers are started. The rules that every line here keeps are in ``round.py``:
whoever calls these methods holds the workers in its round.
"""

from __future__ import annotations

import threading

from flask_concurrency.executors.processes import wire
from flask_concurrency.executors.processes.completion import complete
from flask_concurrency.executors.processes.desk import Desk
from flask_concurrency.executors.processes.obituary import too_late
from flask_concurrency.executors.processes.roster import Roster
from flask_concurrency.executors.processes.round import NO_REPLY, Round
from flask_concurrency.executors.processes.staff import Staff
from flask_concurrency.executors.processes.task import Task
from flask_concurrency.executors.processes.watch import Watch
from flask_concurrency.executors.processes.wire import wait_readable
from flask_concurrency.executors.processes.worker_record import WorkerRecord
from flask_concurrency.vocabulary.clock import monotonic


class Exchange:
    """What the threads of a process and the workers of one pool say to one another."""

    def __init__(
        self, lock: threading.Lock, roster: Roster, desk: Desk, staff: Staff, watch: Watch
    ) -> None:
        self._lock = lock
        self._roster = roster
        self._desk = desk
        self._staff = staff
        self._watch = watch

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
            complete(task, *ending)

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
