"""Write down a job for its client: the JSON document of its status. Knows no ledger.

What its function raised is shown in debug mode alone: a message may hold anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from flask import current_app, url_for

from flask_concurrency.jobs.record import JobRecord

PROBLEM: Final = "urn:flask-concurrency:job-"
BLUEPRINT: Final = "concurrency_jobs"

_ID: Final = "0-id-0"

_TOLD: Final = {
    "error": ("The job failed", "It ended with an error, which its operators can see."),
    "interrupted": ("The worker died", "The process that ran it ended before the job did."),
    "timeout": ("Out of time", "It took longer than it may."),
    "out-of-memory": ("Out of memory", "It wanted more memory than it may take."),
    "result-not-kept": ("No result", "Its result could not be kept."),
}


@dataclass(frozen=True, slots=True)
class Teller:
    """What of a request a document depends on; it may be used after the request has ended.

    :ivar urls: The address of each route, with :data:`_ID` for the job's id; none if there are no
        routes.
    :ivar debug: Whether errors are shown as they are.
    """

    urls: Mapping[str, str]
    debug: bool

    @classmethod
    def of_request(cls) -> Teller:
        """For the current request."""
        urls = {}
        if BLUEPRINT in current_app.blueprints:
            for route in ("status", "events", "result"):
                urls[route] = url_for(f"{BLUEPRINT}.{route}", id=_ID)
        return cls(urls, current_app.debug)

    def links(self, record: JobRecord) -> dict[str, str]:
        """Where the client goes from here; nowhere if the app has no routes for jobs."""
        if not self.urls:
            return {}
        routes = {"self": "status", "events": "events"}
        if not record.state.done:
            routes["cancel"] = "status"
        if record.state.status == "succeeded":
            routes["result"] = "result"
        return {link: self.urls[route].replace(_ID, record.id) for link, route in routes.items()}

    def __call__(self, record: JobRecord) -> dict[str, Any]:
        """The status of a job, as its client reads it."""
        told = _status(record)
        if record.state.status == "failed" and record.error is not None:
            told["error"] = error_of(record.error, self.debug)
        told["links"] = self.links(record)
        return told


def document(record: JobRecord) -> dict[str, Any]:
    """The status of a job, as the client of this request reads it."""
    return Teller.of_request()(record)


def _status(record: JobRecord) -> dict[str, Any]:
    state, progress = record.state, record.progress
    told: dict[str, Any] = {
        "id": record.id,
        "name": record.name,
        "status": state.status,
        "done": state.done,
        "created": instant(record.created_at),
    }
    if state.status == "queued" and state.due_at > record.created_at:
        told["due"] = instant(state.due_at)
    if state.cancel_requested:
        told["canceling"] = True
    if state.ended_at is not None:
        told["ended"] = instant(state.ended_at)
    if progress is not None:
        told["progress"] = {"fraction": progress.fraction, "message": progress.message}
    told["attempts"] = [
        {
            "number": attempt.number,
            "started": instant(attempt.started_at),
            "ended": None if attempt.ended_at is None else instant(attempt.ended_at),
            "how": attempt.how,
        }
        for attempt in record.attempts
    ]
    return told


def error_of(error: dict[str, str], debug: bool) -> dict[str, str]:
    """What went wrong, as its client may know it (RFC 9457)."""
    title, detail = _TOLD.get(error["type"], _TOLD["error"])
    if debug:
        title, detail = error["title"], error["detail"]
    return {"type": PROBLEM + error["type"], "title": title, "detail": detail}


def etag(record: JobRecord) -> str:
    """What distinguishes one version of a job's status from all others."""
    return f"{record.version}"


def instant(at: float) -> str:
    """An instant as RFC 3339 spells it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
