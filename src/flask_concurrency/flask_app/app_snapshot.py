"""Read what an app's limits count and what its executors do, in all processes that share a store.

Knows the store and the status files; knows no request and no terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Flask

from flask_concurrency.engine.snapshot import LimiterSnapshot, look, reset
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.app_store import deployment
from flask_concurrency.stores.opening import HOST_WORKS
from flask_concurrency.telemetry.load import JobLoad, LimitLoad, Load, jobs_of, limits_of, load_of
from flask_concurrency.vocabulary.clock import wall
from flask_concurrency.vocabulary.errors import ConfigurationError, JobsUnavailable, StoreError

if TYPE_CHECKING:
    from flask_concurrency.flask_app.work.status_file import ExecutorStatus


@dataclass(frozen=True, slots=True)
class JobsSnapshot:
    """How an app's jobs stand.

    :ivar queued: Jobs that wait, for their time or for a worker.
    :ivar running: Jobs that run.
    :ivar longest_wait: Seconds for which the longest-waiting job could have started; ``0.0`` if
        none is due.
    :ivar workers: Workers that are alive; ``None`` where an engine carries the jobs, whose workers
        are its own matter.
    :ivar available: Whether they can be read; if not, the numbers are 0.
    """

    queued: int = 0
    running: int = 0
    longest_wait: float = 0.0
    workers: int | None = None
    available: bool = True


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """What all hosts that share a Redis or Valkey server have counted.

    :ivar hosts: Hosts that have counted within the last day, this one among them.
    :ivar load: Requests so far and what became of them; those of other hosts are a second old.
    :ivar decisions: What each limit decided so far, the one first that refused most.
    """

    hosts: int
    load: Load
    decisions: tuple[LimitLoad, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What an app does at this moment.

    :ivar limits: What each limit counts: all requests together, or those of the key asked for.
    :ivar processes: What the executors of each process of this machine last said, two seconds
        old at most; none where the platform cannot share it.
    :ivar jobs: How its jobs stand; ``None`` if it has none.
    :ivar at: When it was read, in seconds since 1970.
    :ivar load: Requests so far of this host and what became of them; ``None`` where the app counts
        none.
    :ivar decisions: What each limit decided so far on this host, the one first that refused most.
    :ivar job_events: What became of the jobs of each name so far, on this host.
    :ivar fleet: The same for all hosts; ``None`` where they share no server, or count nothing.
    """

    limits: tuple[LimiterSnapshot, ...]
    processes: tuple[ExecutorStatus, ...]
    jobs: JobsSnapshot | None = None
    at: float = 0.0
    load: Load | None = None
    decisions: tuple[LimitLoad, ...] = ()
    job_events: tuple[JobLoad, ...] = ()
    fleet: FleetSnapshot | None = None


def read_snapshot(app: Flask, state: AppState, *, key: str | None) -> Snapshot:
    """Look at an app's limits and executors, without spending anything.

    :param key: Whose counts to read where clients are counted apart; ``None`` leaves those out.
    :raises StoreError: They cannot be read.
    """
    limits = look(state.limiters(app), state.shared_store, key=key)
    totals = state.counters.look()
    return Snapshot(
        tuple(limits),
        tuple(read_processes(app, state)),
        read_jobs(app),
        at=wall(),
        load=None if totals is None else load_of(totals),
        decisions=() if totals is None else tuple(limits_of(totals)),
        job_events=() if totals is None else tuple(jobs_of(totals)),
        fleet=_read_fleet(state),
    )


def _read_fleet(state: AppState) -> FleetSnapshot | None:
    fleet = state.counters.look_at_fleet()
    if fleet is None:
        return None
    return FleetSnapshot(fleet.hosts, load_of(fleet.totals), tuple(limits_of(fleet.totals)))


def read_jobs(app: Flask) -> JobsSnapshot | None:
    """How an app's jobs stand; ``None`` if it has none."""
    jobs = app.extensions.get("concurrency_jobs")
    if jobs is None or not jobs.declared:
        return None
    try:
        counts, workers = jobs.ledger.counts(), jobs.ledger.workers()
    except (JobsUnavailable, ConfigurationError):
        return JobsSnapshot(available=False)
    return JobsSnapshot(
        counts.queued,
        counts.running,
        counts.longest_wait or 0.0,
        len(workers) if jobs.engine is None else None,
    )


def reset_counts(app: Flask, state: AppState, *, key: str | None, name: str | None) -> int:
    """Reset rates; permits stay held.

    :param key: Whose; ``None`` for every key.
    :param name: Only limits of this name; ``None`` for all.
    :returns: How many counts there were.
    :raises StoreError: The counts cannot be written.
    """
    state.refusals.clear()
    if key is None:
        return state.shared_store.clear()
    limiters = [
        limiter for limiter in state.limiters(app) if name is None or limiter.is_called(name)
    ]
    return reset(limiters, state.shared_store, key=key)


def read_processes(app: Flask, state: AppState) -> list[ExecutorStatus]:
    """What each process of this machine last said; nothing where the platform cannot share it.

    :raises StoreError: It cannot be read.
    """
    if not HOST_WORKS:
        return []
    from flask_concurrency.flask_app.work.status_file import read_statuses

    try:
        return read_statuses(deployment(app, state.settings))
    except OSError as error:
        raise StoreError(f"What the executors do cannot be read: {error}") from error
