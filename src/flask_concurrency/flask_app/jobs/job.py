"""Give a developer one job: where it stands, its result, and the answer that accepts it.

Knows the record, and the request if there is one; knows no route.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from flask import Response, current_app, jsonify, request

from flask_concurrency.flask_app.jobs.app_jobs import AppJobs
from flask_concurrency.flask_app.jobs.document import BLUEPRINT, Teller, document
from flask_concurrency.flask_app.jobs.preferences import wanted_wait
from flask_concurrency.jobs.record import Attempt, JobRecord, Progress
from flask_concurrency.policies.job_state import Status
from flask_concurrency.runtime.greenlet_bridge import can_suspend
from flask_concurrency.runtime.wakeup import WakeUp
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import (
    JobCanceled,
    JobError,
    JobFailed,
    JobNotDone,
    JobNotFound,
)

RETRY_AFTER = 2
"""Seconds after which a client that polls may ask again."""
FEW_THREADS = 2
"""With so few threads a server lets no request wait for a job."""


class Job:
    """One job, as it was when it was read; :meth:`refresh` reads it again.

    :param replayed: Whether it was submitted before, under the same idempotency key.
    """

    def __init__(self, jobs: AppJobs, record: JobRecord, *, replayed: bool = False) -> None:
        self._jobs = jobs
        self._record = record
        self._accepted = True
        self.replayed = replayed

    def __repr__(self) -> str:
        return f"<Job {self.id!r} {self.name!r} {self.status}>"

    @property
    def id(self) -> str:
        """Its id: 192 random bits."""
        return self._record.id

    @property
    def name(self) -> str:
        """What it was declared as."""
        return self._record.name

    @property
    def owner(self) -> str:
        """The user it belongs to; ``""`` for none."""
        return self._record.owner

    @property
    def status(self) -> Status:
        """``queued``, ``running``, ``succeeded``, ``failed`` or ``canceled``."""
        return self._record.state.status

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return self._record.state.done

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every start of it: since when, until when, and how it ended."""
        return self._record.attempts

    @property
    def progress(self) -> Progress | None:
        """What it last said of itself."""
        return self._record.progress

    @property
    def error(self) -> dict[str, str] | None:
        """``type``, ``title``, ``detail`` and perhaps ``traceback`` of its latest failure."""
        return self._record.error

    @property
    def url(self) -> str:
        """Where its client asks for it; within a request.

        :raises JobError: The app has no routes for jobs.
        """
        found = Teller.of_request().links(self._record)
        if not found:
            raise JobError("This app has no routes for jobs: CONCURRENCY_JOBS['url_prefix'].")
        return found["self"]

    def result(self) -> Any:
        """What it returned; for a result that is a file, its path.

        :raises JobNotDone: It has not come to its end.
        :raises JobFailed: It failed; the error says how.
        :raises JobCanceled: It was cancelled.
        """
        if self.status == "failed":
            raise JobFailed(self.id, self.error or {})
        if self.status == "canceled":
            raise JobCanceled(f"Job {self.id!r} was cancelled.")
        if self._record.result is None:
            raise JobNotDone(f"Job {self.id!r} is {self.status}: it has no result yet.")
        kept = json.loads(self._record.result)
        if "file" not in kept:
            return kept["value"]
        files = self._jobs.ledger.files
        return None if files is None else str(files / kept["file"]["stored"])

    def refresh(self) -> Job:
        """Read it again; returns itself.

        :raises JobNotFound: Its record has expired.
        """
        self._take(self._read())
        return self

    def cancel(self) -> Job:
        """Ask for its end: at once if it is queued, as soon as its worker has ended it if it runs.

        :raises JobNotFound: Its record has expired.
        """
        self._take(self._jobs.ledger.cancel(self.id))
        return self

    def retry(self) -> Job:
        """Queue it again, with fresh budgets, if it failed or was cancelled.

        :raises JobNotDone: It did neither.
        """
        again = self._jobs.ledger.retry(self.id)
        if again is None:
            raise JobNotDone(
                f"Job {self.id!r} is {self.refresh().status}: only one that failed or was "
                "cancelled can be queued again."
            )
        self._take(again)
        self._jobs.send(again)
        return self

    async def wait(self, timeout: float | None = None) -> Job:
        """Await its end, ``timeout`` seconds at most; :attr:`done` says whether it came."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def deliver(record: JobRecord | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(changed.set)

        end = self._jobs.watcher.watch(self._read, deliver, self._record)
        try:
            async with asyncio.timeout(timeout):
                while not (await asyncio.to_thread(self.refresh)).done:
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            pass
        finally:
            end()
        return self

    def wait_here(self, timeout: float, *, until: Callable[[JobRecord], bool] | None = None) -> Job:
        """Wait for its end, ``timeout`` seconds at most, in a thread or a suspended request.

        :param until: What to wait for instead.
        """
        reached = until or (lambda record: record.state.done)
        woken, give_up_at = WakeUp(), monotonic() + timeout
        end = self._jobs.watcher.watch(self._read, lambda _: woken.set(), self._record)
        try:
            while not reached(self.refresh()._record):
                left = give_up_at - monotonic()
                if left <= 0:
                    break
                woken.wait(left)
        finally:
            end()
        return self

    def accepted(self) -> Response:
        """The answer to the request that submitted it: 202, and where to ask for it.

        A client that sends ``Prefer: wait=2`` is answered 200 with the result if it is there by
        then. Within a request.

        :raises JobError: It waits for a commit that has not come; commit first.
        """
        self._check_accepted()
        wait = wanted_wait()
        if wait and not self.done and may_wait():
            self.wait_here(min(wait, self._jobs.options.max_wait))
        if wait and self.status == "succeeded" and (answer := self._result_at_once()) is not None:
            return answer
        response = jsonify(document(self._record))
        response.status_code = 202
        fields = response.headers
        if BLUEPRINT in current_app.blueprints:
            fields["Location"] = self.url
            fields["Operation-Location"] = f"{request.url_root.rstrip('/')}{self.url}"
        if not self.done:
            fields["Retry-After"] = str(RETRY_AFTER)
        return self._with_common_fields(response)

    def _result_at_once(self) -> Response | None:
        kept = json.loads(self._record.result or "null")
        if not kept or "value" not in kept:
            return None
        return self._with_common_fields(jsonify(kept["value"]))

    def _with_common_fields(self, response: Response) -> Response:
        fields = response.headers
        fields["Cache-Control"] = "no-store"
        if request.headers.get("Prefer"):
            fields["Preference-Applied"] = "respond-async"
        if self.replayed:
            fields["Idempotency-Replayed"] = "true"
        return response

    def _check_accepted(self) -> None:
        if not self._accepted:
            raise JobError(
                f"Job {self.id!r} is submitted when its session commits, which it has not: call "
                "accepted() after commit()."
            )

    def _read(self) -> JobRecord | None:
        return self._jobs.ledger.get(self.id)

    def _take(self, record: JobRecord | None) -> None:
        if record is None:
            raise JobNotFound(f"There is no job {self.id!r}, or no longer.")
        self._record = record


class PendingJob(Job):
    """A job that is accepted when a session commits, and never if that rolls back."""

    def __init__(self, jobs: AppJobs, record: JobRecord) -> None:
        super().__init__(jobs, record)
        self._accepted = False

    def accept(self) -> None:
        """Keep it now."""
        self._record, new = self._jobs.accept(self._record)
        self.replayed = not new
        self._accepted = True


def may_wait() -> bool:
    """Whether a request may wait here: not on an event loop, nor where threads are few."""
    if not can_suspend() and _on_loop():
        return False
    threads = current_app.extensions["concurrency"].settings.server_threads
    return threads is None or threads > FEW_THREADS


def _on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
