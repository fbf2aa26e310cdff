"""Stream what becomes of jobs: an event is a snapshot, so a client that comes back misses nothing.

No log of events is kept. Knows the watcher; knows no response.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from flask_concurrency.flask_app.jobs.app_jobs import AppJobs
from flask_concurrency.jobs.ledger import Filter
from flask_concurrency.jobs.record import JobRecord
from flask_concurrency.streams.server_sent_events import Event

T = TypeVar("T")
Tell = Callable[[JobRecord], dict[str, Any]]

FOLLOWED = 100
"""Jobs that one stream of an owner follows: the newest."""


async def follow(jobs: AppJobs, record: JobRecord, tell: Tell, seen: str) -> AsyncIterator[Event]:
    """Events of one job until its end: ``status`` where that has changed, else ``progress``.

    :param record: As it is now.
    :param tell: Makes the document of a job.
    :param seen: The version that the client has seen, as it says.
    """
    id, status = record.id, ""
    first: JobRecord | None = record
    async for now in _changes(jobs, lambda: jobs.ledger.get(id), first):
        if now is None:
            return
        if str(now.version) != seen:
            yield _event(now, status, tell)
        seen, status = "", now.state.status
        if now.state.done:
            return


async def follow_all(jobs: AppJobs, owner: str, tell: Tell) -> AsyncIterator[Event]:
    """Events of all jobs of an owner, first of those that have not ended; without end."""

    def read() -> Mapping[str, JobRecord]:
        found = jobs.ledger.find(Filter(owner=owner, limit=FOLLOWED))
        return {record.id: record for record in reversed(found)}

    known = await asyncio.to_thread(read)
    for record in known.values():
        if not record.state.done:
            yield _event(record, "", tell)
    async for now in _changes(jobs, read, known):
        for id, record in now.items():
            before = known.get(id)
            if before is None or before.version != record.version:
                yield _event(record, "" if before is None else before.state.status, tell)
        known = now


async def _changes(jobs: AppJobs, read: Callable[[], T], known: T) -> AsyncIterator[T]:
    """What is known, and then each further state; states between two looks are left out."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    newest = [known]

    def deliver(value: T) -> None:
        newest[0] = value
        if not loop.is_closed():
            loop.call_soon_threadsafe(changed.set)

    end = jobs.watcher.watch(read, deliver, known)
    try:
        while True:
            yield newest[0]
            await changed.wait()
            changed.clear()
    finally:
        end()


def _event(record: JobRecord, status: str, tell: Tell) -> Event:
    kind = "progress" if record.state.status == status else "status"
    return Event(tell(record), event=kind, id=str(record.version))
