"""The contract of a ledger: where jobs are kept, and what may be done to them atomically.

A ledger writes the few verbs that touch its storage; what becomes of a job is the arithmetic of
``policies/job_state.py``, called inside them. Knows no worker process and no function.
"""

from __future__ import annotations

import os
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from flask_concurrency.jobs.record import JobRecord, Progress
from flask_concurrency.policies.job_state import (
    Ending,
    Status,
    attempt_ended,
    cancelled,
    claimed,
    queued_again,
)

Change: TypeAlias = Callable[[JobRecord, float], JobRecord | None]
"""Of a record and the instant: the record to keep in its place, ``None`` to leave it."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker says of itself.

    :ivar id: Unique for each start of a worker.
    :ivar names: Of the jobs it runs.
    :ivar processes: Jobs it runs at once.
    :ivar started_at: Seconds since 1970.
    """

    id: str
    host: str
    process: int
    names: tuple[str, ...]
    processes: int
    started_at: float


@dataclass(frozen=True, slots=True)
class Counts:
    """How many jobs there are.

    :ivar longest_wait: Seconds for which the longest-waiting job could have started, by the clock
        of the ledger; ``None`` if no job is due.
    """

    queued: int
    running: int
    longest_wait: float | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many jobs may be queued: of all owners together, and of each."""

    max_queued: int | None = 10_000
    max_queued_per_owner: int | None = 100


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs a listing shows, newest first.

    :ivar after: The id of the last job of the page before.
    """

    owner: str | None = None
    status: Status | None = None
    limit: int = 20
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, and what it leaves.

    :ivar result: JSON, of a success.
    :ivar error: ``type``, ``title``, ``detail`` of anything else.
    :ivar progress: The last it said; ``None`` for what was said before.
    """

    how: Ending
    result: str | None = None
    error: dict[str, str] | None = None
    progress: Progress | None = None


class Ledger(ABC):
    """Keeps jobs so that what was accepted is not lost, and every run is recorded.

    Every verb raises ``JobsUnavailable`` when its storage cannot be read or written in time; then
    nothing was changed.

    A ledger crosses to another process as the place to find it, and is opened once there. In a
    forked child it begins anew: the parent's connections are left alone.

    :param place: Where jobs are kept.
    :param app: Whose jobs they are.
    :param capacity: How many may be queued.
    :param timeout: Seconds a verb takes at most.
    :param volatile: Whether what is kept may be lost, as in tests.
    :param draw: Gives a number from 0 up to 1, for the jitter of retries.
    :param options: What else another process needs to open it.
    """

    files: Path | None = None
    """Where large results are kept; ``None`` for nowhere."""

    poll: float = 0.25
    """Seconds between two looks of a worker: what a job waits whose wake was lost."""

    observe: Callable[[str, JobRecord], None] | None = None
    """Called in this process with each event of a job and its record, once that is written."""

    def __init__(
        self,
        place: Any,
        *,
        app: str,
        capacity: Capacity,
        timeout: float,
        volatile: bool,
        draw: Callable[[], float] = random.random,
        **options: Any,
    ) -> None:
        self._app = app
        self._capacity = capacity
        self._timeout = timeout
        self._volatile = volatile
        self._draw = draw
        shared = {"app": app, "capacity": capacity, "timeout": timeout, "volatile": volatile}
        self._opened_as = type(self), place, tuple((shared | options).items())
        self._process = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, self._opened_as

    def _forked(self) -> None:
        """Begin anew in a forked child."""
        process = os.getpid()
        if process != self._process:
            self._process = process
            self._begin_in_child()

    @abstractmethod
    def _begin_in_child(self) -> None:
        """Leave the parent what it has open."""

    def tell(self, event: str, record: JobRecord) -> None:
        """Let the observer know of an event: a word of ``telemetry.metrics.JOB_EVENTS``."""
        if self.observe is not None:
            self.observe(event, record)

    def tell_end(self, record: JobRecord | None) -> None:
        """Let the observer know if a job has come to its end."""
        if record is not None and record.state.done:
            self.tell(record.state.status, record)

    @abstractmethod
    def now(self) -> float:
        """The instant by which jobs are due: seconds since 1970, where the jobs are kept."""

    @abstractmethod
    def check(self) -> None:
        """Refuse a place that is not ours, or cannot keep what is written.

        :raises ConfigurationError: It is such a place.
        """

    @abstractmethod
    def insert(self, record: JobRecord) -> tuple[JobRecord, bool]:
        """Keep a new job; when this returns, no crash can lose it.

        Instants of ``record`` are relative to now.

        :returns: The job, and whether it is new: under a key that was used before, with the same
            arguments, it is the one that was kept then.
        :raises IdempotencyConflict: The key was used for other arguments.
        :raises TooManyJobs: As many are queued as may be.
        """

    @abstractmethod
    def get(self, id: str) -> JobRecord | None:
        """The job of an id; ``None`` if there is none, or no longer."""

    @abstractmethod
    def find(self, wanted: Filter) -> list[JobRecord]:
        """Jobs, newest first."""

    @abstractmethod
    def change(self, id: str, change: Change) -> JobRecord | None:
        """Replace a record by what ``change`` makes of it, atomically.

        :returns: The new record; ``None`` if there is none, or ``change`` left it.
        """

    @abstractmethod
    def claim(self, worker: str, names: Sequence[str], limit: int) -> list[JobRecord]:
        """Claim jobs of some names that are due, those due first, for a worker that has joined."""

    @abstractmethod
    def due(self, names: Sequence[str], limit: int) -> list[JobRecord]:
        """Jobs of some names that are due, those due first; none is claimed."""

    @abstractmethod
    def claimed_by(self, worker: str) -> list[JobRecord]:
        """The running jobs of a worker."""

    @abstractmethod
    def rescue(self) -> list[JobRecord]:
        """End the attempts of all workers that are gone, and return their jobs."""

    @abstractmethod
    def purge(self, limit: int) -> int:
        """Remove expired jobs, ``limit`` at most; returns how many."""

    @abstractmethod
    def counts(self) -> Counts:
        """How many jobs are queued and running."""

    @abstractmethod
    def changes(self) -> object:
        """A value that differs from the last one if another process has written since."""

    @abstractmethod
    def join(self, worker: WorkerInfo) -> None:
        """Let a worker be known as alive, until it leaves or its process ends."""

    @abstractmethod
    def leave(self, worker: str) -> None:
        """Let a worker be known as gone."""

    @abstractmethod
    def waking(self, worker: str, wake: Callable[[], object]) -> AbstractContextManager[None]:
        """Call ``wake`` soon after there is a job to start or one to cancel.

        On a thread that ends with the block. A wake may get lost.
        """

    @abstractmethod
    def workers(self) -> list[WorkerInfo]:
        """The workers that are alive."""

    @abstractmethod
    def close(self) -> None:
        """Close files and connections; another call opens them again."""

    def claim_one(self, worker: str, id: str) -> JobRecord | None:
        """Claim one job, if it is due: for engines that carry ids to workers."""
        begun = self.change(id, lambda record, now: begin(record, worker, now))
        if begun is not None:
            self.tell("started", begun)
        return begun

    @contextmanager
    def entered(self, worker: str, id: str) -> Iterator[bool]:
        """Prepare this process for an attempt that a worker has given to it.

        :returns: Whether the worker has not been given up meanwhile.
        """
        yield True

    def clean_up(self, worker: str, id: str) -> None:  # noqa: B027 # nothing by default
        """End whatever an attempt that was ended from outside has left running, and wait for it."""

    def end(self, id: str, attempt: int, outcome: Outcome) -> JobRecord | None:
        """Note how an attempt ended.

        :returns: The record now; ``None`` if the attempt is no longer the running one, so that
            nothing it did counts.
        """

        def ended(record: JobRecord, now: float) -> JobRecord | None:
            return ending(record, attempt, outcome, now, self._draw())

        after = self.change(id, ended)
        self.tell_end(after)
        return after

    def cancel(self, id: str) -> JobRecord | None:
        """Ask for a job's end; returns it as it is then, ``None`` if there is none.

        A queued one is cancelled at once; a running one when its worker has ended it.
        """
        after = self.change(id, _cancelled)
        self.tell_end(after)
        return after or self.get(id)

    def retry(self, id: str) -> JobRecord | None:
        """Queue a job again that failed or was cancelled; ``None`` if there is none that did."""
        return self.change(id, _queued_again)

    def report_progress(self, id: str, attempt: int, progress: Progress) -> bool:
        """Note what a running attempt says of itself.

        :returns: Whether it is to go on: it still is the running one, and not to be cancelled.
        """

        def reported(record: JobRecord, now: float) -> JobRecord | None:
            state = record.state
            if state.status != "running" or state.attempt != attempt:
                return None
            return record.changed(progress=progress)

        after = self.change(id, reported)
        return after is not None and not after.state.cancel_requested


@cache
def _opened(
    kind: Callable[..., Ledger], place: Any, options: tuple[tuple[str, Any], ...]
) -> Ledger:
    """The ledger of a place, opened in this process from its text and options."""
    return kind(place, **dict(options))


def begin(record: JobRecord, worker: str, now: float) -> JobRecord | None:
    """The record once a worker has claimed it; ``None`` if it may not start now."""
    state = claimed(record.state, now)
    return None if state is None else record.begun(state, worker)


def ending(
    record: JobRecord, attempt: int, outcome: Outcome, now: float, draw: float
) -> JobRecord | None:
    """The record once an attempt has ended; ``None`` if it is not the running one."""
    how = outcome.how
    state = attempt_ended(record.state, record.rules, how, attempt=attempt, now=now, draw=draw)
    if state is None:
        return None
    values: dict[str, Any] = {}
    if state.status == "succeeded":
        values = {"result": outcome.result, "error": None}
    elif outcome.error is not None and state.status != "canceled":
        values = {"error": outcome.error}
    if outcome.progress is not None:
        values["progress"] = outcome.progress
    return record.finished(state, how, now, **values)


INTERRUPTED: dict[str, str] = {
    "type": "interrupted",
    "title": "The worker died",
    "detail": "The process that ran the job ended before the job did.",
}


def _cancelled(record: JobRecord, now: float) -> JobRecord | None:
    state = cancelled(record.state, record.rules, now)
    return None if state is None else record.changed(state=state)


def _queued_again(record: JobRecord, now: float) -> JobRecord | None:
    state = queued_again(record.state, now)
    return None if state is None else record.changed(state=state, error=None, progress=None)
