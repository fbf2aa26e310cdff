"""Decide what a worker does next: claim, run, notice cancellations, rescue, purge, drain.

One loop on one thread does all of it, so that nothing has to be locked. What runs the attempts is
given to it. Knows no process pool, no Flask and no kind of ledger.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from math import inf
from typing import Final

from flask_concurrency.jobs.attempt import problem_of
from flask_concurrency.jobs.ledger import INTERRUPTED, Ledger, Outcome, WorkerInfo
from flask_concurrency.jobs.record import JobRecord
from flask_concurrency.vocabulary.clock import Clock, monotonic, wall
from flask_concurrency.vocabulary.errors import (
    ExecutorShutdown,
    JobsUnavailable,
    QueueFull,
    WorkerDied,
    WorkerOutOfMemory,
    WorkerStartFailed,
)
from flask_concurrency.vocabulary.safe_logger import SafeLogger

LOOK_EVERY: Final = 0.25
"""Seconds after which due jobs are looked for though no other process has written."""
RESCUE_EVERY: Final = 0.5
PURGE_EVERY: Final = 30.0
PURGED_AT_ONCE: Final = 500
"""Expired jobs removed in one transaction: 10 ms for which no other process can write."""

logger: Final = SafeLogger("flask_concurrency.jobs")


Start = Callable[[JobRecord, str], Future[Outcome]]
"""Begins the running attempt of a job of a worker. To cancel the future ends it."""


@dataclass(slots=True)
class _Running:
    record: JobRecord
    future: Future[Outcome]
    cancel_as: Outcome | None = None
    began_at: float | None = None


class Worker:
    """Runs the jobs of one ledger until it is stopped.

    :param start: Begins an attempt.
    :param names: Of the jobs it may claim.
    :param processes: Attempts that run at once.
    :param poll: Seconds between two looks for what other processes have written. Default: the
        ledger's.
    :param drain_timeout: Seconds that running jobs get once it is to stop; those left are given
        back.
    """

    def __init__(
        self,
        ledger: Ledger,
        start: Start,
        names: Sequence[str],
        *,
        processes: int = 1,
        poll: float | None = None,
        drain_timeout: float = 30.0,
        clock: Clock = monotonic,
    ) -> None:
        self._ledger = ledger
        self._begin = start
        self._names = tuple(sorted(names))
        self._processes = processes
        self._poll = ledger.poll if poll is None else poll
        self._drain_timeout = drain_timeout
        self._clock = clock
        self.id = f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(8)}"
        self._running: dict[str, _Running] = {}
        self._ended: deque[_Running] = deque()
        self._wakes = threading.Event()
        self._stop_by: float | None = None
        self._told_to_stop = False
        self._changes: object = None
        self._looked_at = self._rescued_at = self._purged_at = -inf
        self._claims_after = -inf
        self._unstarted = 0
        self._unavailable = False

    def run(self, *, burst: bool = False) -> None:
        """Work until :meth:`stop`.

        :param burst: End once no job is due and none runs.
        """
        self._join()
        try:
            with self._ledger.waking(self.id, self._wakes.set):
                while not self.step(burst=burst):
                    self._wakes.wait(self._poll)
                    self._wakes.clear()
        finally:
            # After an error of ours, too: what still runs must not run while it is queued again.
            self._take_back(Outcome("returned"))
            self._write_ends(finally_=True)
            self._ledger.leave(self.id)

    def stop(self) -> None:
        """Claim no more, and end once what runs is done or was given back. For signal handlers."""
        self._told_to_stop = True
        self._wakes.set()

    def step(self, *, burst: bool = False) -> bool:
        """Do what there is to do now; whether the worker has come to its end."""
        now = self._clock()
        if self._told_to_stop and self._stop_by is None:
            self._stop_by = now + self._drain_timeout
            logger.info("Worker %s: told to stop, %d jobs run.", self.id, len(self._running))
        found = False
        try:
            self._write_ends()
            changed = self._look_for_changes()
            self._watch_time(now)
            if now - self._rescued_at >= RESCUE_EVERY:
                self._rescued_at = now
                self._rescue()
            if self._stop_by is None:
                found = self._claim(now, changed)
                self._purge(now)
            if self._unavailable:
                self._unavailable = False
                logger.warning("Worker %s: the jobs can be read and written again.", self.id)
        except JobsUnavailable as error:
            if not self._unavailable:
                self._unavailable = True
                logger.error("Worker %s: %s It goes on trying.", self.id, error)
        if self._stop_by is not None and now >= self._stop_by:
            self._take_back(Outcome("returned"))
        idle = not self._running and not self._ended
        return idle and (self._stop_by is not None or (burst and not found))

    def _join(self) -> None:
        info = WorkerInfo(
            self.id, socket.gethostname(), os.getpid(), self._names, self._processes, wall()
        )
        self._ledger.join(info)

    def _claim(self, now: float, changed: bool) -> bool:
        free = self._processes - len(self._running) - len(self._ended)
        if (
            now < self._claims_after
            or free <= 0
            or not (changed or now - self._looked_at >= LOOK_EVERY)
        ):
            return free <= 0 or now < self._claims_after
        claimed = self._ledger.claim(self.id, self._names, free)
        # With all slots taken there may be more, to be looked for once one is free.
        self._looked_at = -inf if len(claimed) == free else now
        for record in claimed:
            self._start(record)
        return bool(claimed)

    def _start(self, record: JobRecord) -> None:
        logger.info("Job %s (%s): attempt %d.", record.id, record.name, record.state.attempt)
        self._ledger.tell("started", record)
        future: Future[Outcome]
        try:
            future = self._begin(record, self.id)
        except Exception as error:  # the attempt is counted; it must come to an end
            future = Future()
            future.set_exception(error)
        self._running[record.id] = _Running(record, future)
        future.add_done_callback(lambda _: self._wakes.set())

    def _look_for_changes(self) -> bool:
        """Whether another process has written; if so, what was asked of our jobs is done."""
        for running in tuple(self._running.values()):
            if running.future.done():
                del self._running[running.record.id]
                self._ended.append(running)
                self._looked_at = -inf
        self._write_ends()
        changes = self._ledger.changes()
        if changes == self._changes:
            return False
        if self._running:
            self._follow(self._ledger.claimed_by(self.id))
        self._changes = changes
        return True

    def _follow(self, records: Sequence[JobRecord]) -> None:
        """End what was cancelled, and what is no longer ours; give up what we do not run."""
        ours = {record.id: record for record in records}
        for id, running in self._running.items():
            record = ours.get(id)
            lost = record is None or record.state.attempt != running.record.state.attempt
            if lost:
                logger.warning("Job %s: another worker has it; our attempt is ended.", id)
            if lost or (record is not None and record.state.cancel_requested):
                self._end(running, Outcome("canceled"))

    def _watch_time(self, now: float) -> None:
        """End what takes longer than it may, from when a process has it."""
        for running in self._running.values():
            timeout = running.record.rules.timeout
            if timeout is None or not (running.began_at or running.future.running()):
                continue
            if running.began_at is None:
                running.began_at = now
            elif now - running.began_at >= timeout:
                self._end(running, too_long(timeout))

    def _end(self, running: _Running, outcome: Outcome) -> None:
        if running.cancel_as is None and running.future.cancel():
            running.cancel_as = outcome

    def _rescue(self) -> None:
        for record in self._ledger.rescue():
            logger.warning(
                "Job %s (%s): the worker of attempt %d died; it is %s now.",
                *(record.id, record.name, record.state.attempt, record.state.status),
            )
            self._ledger.tell("rescued", record)
            self._ledger.tell_end(record)
        # What we have claimed and do not run: an error came between the two.
        known = self._running.keys() | {each.record.id for each in self._ended}
        for record in self._ledger.claimed_by(self.id):
            if record.id not in known:
                outcome = Outcome("interrupted", error=INTERRUPTED)
                self._ledger.end(record.id, record.state.attempt, outcome)

    def _purge(self, now: float) -> None:
        if now - self._purged_at >= PURGE_EVERY:
            purged = self._ledger.purge(PURGED_AT_ONCE)
            # More of them are left for the next second, so that others may write between.
            rest = purged == PURGED_AT_ONCE
            self._purged_at = now - PURGE_EVERY + 0.1 if rest else now

    def _take_back(self, outcome: Outcome) -> None:
        """End what runs, and note for each how."""
        for running in tuple(self._running.values()):
            self._end(running, outcome)
            if running.future.done():
                del self._running[running.record.id]
                self._ended.append(running)

    def _be_careful(self, outcome: Outcome) -> None:
        """Claim nothing for a while where no process comes up; longer each time."""
        if outcome.how != "unstarted":
            self._unstarted = 0
            return
        wait = min(60.0, 2.0**self._unstarted)
        self._unstarted += 1
        self._claims_after = self._clock() + wait
        logger.error(
            "Worker %s: no process for jobs, next try in %g s: %s", self.id, wait, outcome.error
        )

    def _write_ends(self, *, finally_: bool = False) -> None:
        """Note the ends of attempts; those that cannot be written are kept for the next time."""
        while self._ended:
            running = self._ended[0]
            record = running.record
            outcome = running.cancel_as or outcome_of(running.future)
            try:
                self._ledger.clean_up(self.id, record.id)
                after = self._ledger.end(record.id, record.state.attempt, outcome)
                # Once more: a process may have begun between a first look and its own end.
                self._ledger.clean_up(self.id, record.id)
            except JobsUnavailable:
                if not finally_:
                    raise
                return  # the worker's end gives them up, and another one notices
            self._ended.popleft()
            self._be_careful(outcome)
            if after is None:
                logger.warning("Job %s: attempt %d ended too late to count.", *_which(record))
            else:
                logger.info("Job %s: attempt %d ended, %s.", *_which(record), after.state.status)


def too_long(timeout: float) -> Outcome:
    """The end of an attempt that took longer than it may."""
    detail = (
        f"The job took longer than its timeout of {timeout:g} s, and was ended. Give it more time, "
        "or less to do."
    )
    return Outcome("timeout", error={"type": "timeout", "title": "Out of time", "detail": detail})


def outcome_of(future: Future[Outcome]) -> Outcome:
    """How an attempt ended whose future is done."""
    try:
        return future.result(timeout=0)
    except CancelledError:
        return Outcome("canceled")
    except WorkerOutOfMemory as error:
        return Outcome("error", error=problem_of(error, "out-of-memory", "Out of memory"))
    except WorkerDied as error:
        return Outcome("interrupted", error=problem_of(error, "interrupted", INTERRUPTED["title"]))
    except (WorkerStartFailed, QueueFull, ExecutorShutdown) as error:
        return Outcome("unstarted", error=problem_of(error, "not-started"))
    except Exception as error:
        return Outcome("error", error=problem_of(error, "error"))


def _which(record: JobRecord) -> tuple[str, int]:
    return record.id, record.state.attempt
