"""Put what executors publish into words for a terminal. Knows snapshots as plain data, no files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from flask_concurrency.cli.overload_lines import is_adaptive

if TYPE_CHECKING:
    from flask_concurrency.flask_app.work.status_file import ExecutorStatus

NOW: Final = (("queued", "queued"), ("waiting", "waiting"), ("overdue", "past their deadline"))
SO_FAR: Final = ("failed", "cancelled", "expired", "refused", "killed")


def executor_rows(statuses: Iterable[ExecutorStatus]) -> list[tuple[str, str]]:
    """One row for each executor of each process: its name, and how it goes."""
    return [
        (f"{name} of process {status.process}", in_words(snapshot))
        for status in statuses
        for name, snapshot in status.executors.items()
        if not is_adaptive(snapshot)
    ]


def in_words(snapshot: Mapping[str, Any]) -> str:
    """What an executor does now, what became of its tasks, and how long they took lately."""
    parts = [_at_work(snapshot)]
    parts += [f"{snapshot[key]} {word}" for key, word in NOW if snapshot.get(key)]
    said = ", ".join(parts)
    said += f"; {snapshot.get('done', 0)} done"
    for key in SO_FAR:
        if snapshot.get(key):
            said += f", {snapshot[key]} {key}"
    durations = snapshot.get("durations")
    if durations and snapshot.get("done"):
        said += (
            f"; run {_seconds(durations['run_p50'])} (p50), {_seconds(durations['run_p99'])} (p99)"
            f", wait {_seconds(durations['wait_p99'])} (p99)"
        )
    return said


def _at_work(snapshot: Mapping[str, Any]) -> str:
    if "max_workers" in snapshot:
        return f"{snapshot['busy']} of {snapshot['max_workers']} busy"
    if "pending" in snapshot:
        return f"{snapshot['pending']} pending"
    return f"{snapshot.get('tasks', 0)} tasks"


def _seconds(seconds: float) -> str:
    """Three digits at most, in the unit that needs no zeros."""
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.0f} µs"
