"""Put how an app's jobs stand into words for a terminal. Knows snapshots as plain data."""

from __future__ import annotations

from collections.abc import Sequence

from flask_concurrency.flask_app.app_snapshot import JobsSnapshot
from flask_concurrency.telemetry.in_words import duration
from flask_concurrency.telemetry.load import JobLoad
from flask_concurrency.telemetry.metrics import JOB_EVENTS


def job_rows(jobs: JobsSnapshot, events: Sequence[JobLoad]) -> list[tuple[str, str]]:
    """How many wait and run, by how many workers; then what became of the jobs of each name."""
    if not jobs.available:
        return [("now", "can be neither read nor accepted")]
    waits = f", the oldest for {duration(jobs.longest_wait)}" if jobs.longest_wait else ""
    rows = [
        ("queued", f"{jobs.queued}{waits}"),
        ("running", f"{jobs.running}{_workers(jobs.workers)}"),
    ]
    for each in events:
        told = [f"{each.events[event]:,} {event}" for event in JOB_EVENTS if each.events.get(event)]
        rows.append((each.name, ", ".join(told)))
    return rows


def _workers(number: int | None) -> str:
    if number is None:
        return ""
    return ", 1 worker alive" if number == 1 else f", {number or 'no'} workers alive"
