"""Put what adaptive limits publish into words for a terminal. Knows snapshots as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask_concurrency.flask_app.work.status_file import ExecutorStatus


def overload_rows(statuses: Iterable[ExecutorStatus]) -> list[tuple[str, str]]:
    """One row for each adaptive limit of each process: its name, and what it does."""
    return [
        (f"{name} of process {status.process}", in_words(snapshot))
        for status in statuses
        for name, snapshot in status.executors.items()
        if is_adaptive(snapshot)
    ]


def guard_rows(statuses: Iterable[ExecutorStatus]) -> list[tuple[str, str]]:
    """One row for each: which guards are active in which process, and why."""
    return [
        (f"{name} of process {status.process}", guards_in_words(snapshot))
        for status in statuses
        for name, snapshot in status.executors.items()
        if is_adaptive(snapshot)
    ]


def is_adaptive(snapshot: Mapping[str, Any]) -> bool:
    """Whether it is of an adaptive limit, and not of an executor."""
    return "too_old" in snapshot


def in_words(snapshot: Mapping[str, Any]) -> str:
    """What a limit does now, and whom it has refused for which reason."""
    cap = "no cap" if snapshot["cap"] is None else f"at most {snapshot['cap']}"
    now = f"{snapshot['in_flight']} in flight, {cap}"
    if snapshot["judging"]:
        now += " (being judged)"
    if snapshot["hung"]:
        now += f", {snapshot['hung']} hung"
    now += f"; age {snapshot['age'] * 1e3:.0f} ms"
    if snapshot["standing"]:
        now += ", a queue stands"
    said = f"{now}; {snapshot['admitted']} admitted"
    for key, words in (("too_old", "too old"), ("too_many", "too many"), ("gone", "gone")):
        if snapshot[key]:
            said += f", {snapshot[key]} {words}"
    return said


def guards_in_words(snapshot: Mapping[str, Any]) -> str:
    """Which guards are active: the age needs a source, the cap needs none."""
    source = snapshot["source"]
    cap = "the cap by Little's law"
    if not source:
        return f"{cap}; no age is known"
    return f"the age, from {source}; {cap}"
