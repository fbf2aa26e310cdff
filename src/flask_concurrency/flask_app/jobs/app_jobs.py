"""Hold what one app has for its jobs: options, ledger, watcher, and whose request it is.

Knows the app and the ledger; knows no route. Nothing is opened before it is used.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from flask import Flask, current_app, has_request_context

from flask_concurrency.flask_app.jobs.options import JobOptions
from flask_concurrency.jobs.attempt import current_job
from flask_concurrency.jobs.ledger import Capacity, Ledger
from flask_concurrency.jobs.opening import SQLITE, open_ledger
from flask_concurrency.jobs.record import JobRecord
from flask_concurrency.jobs.watcher import Watcher
from flask_concurrency.telemetry.metrics import JOBS
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import JobsUnavailable
from flask_concurrency.vocabulary.safe_logger import SafeLogger

EXTENSION: Final = "concurrency_jobs"
"""Where an app keeps this, in ``app.extensions``."""

WARN_EVERY: Final = 300.0
TELL_UNAVAILABLE_EVERY: Final = 10.0

logger: Final = SafeLogger("flask_concurrency.jobs")


class Declared(Protocol):
    """A declared job, as far as it matters here."""

    @property
    def function(self) -> Callable[..., Any]:
        """What a worker calls."""

    @property
    def queue(self) -> str:
        """Which workers do."""


class Sender(Protocol):
    """An engine, as far as it matters here: see ``engine.py``."""

    def send(self, id: str, queue: str, delay: float) -> None:
        """Carry an id to a worker of a queue."""


class AppJobs:
    """The jobs of one app.

    :param declared: All declared jobs, by name; later ones are seen.
    :param namespace: What all processes of the app call it.
    :ivar engine: Carries ids to workers; ``None`` where workers look into the ledger themselves.
    """

    def __init__(
        self,
        app: Flask,
        options: JobOptions,
        declared: Mapping[str, Declared],
        namespace: str,
    ) -> None:
        self._app = weakref.ref(app)
        self.options = options
        self.declared = declared
        self.namespace = namespace
        self.engine: Sender | None = None
        self._ledger: Ledger | None = None
        self._watcher: Watcher | None = None
        self._opening = threading.Lock()
        self._seen_at = 0.0
        self._told_at = -TELL_UNAVAILABLE_EVERY

    @property
    def ledger(self) -> Ledger:
        """Where jobs are kept."""
        with self._opening:
            if self._ledger is None:
                self._ledger = self._open()
                self._ledger.observe = self._count
            return self._ledger

    @property
    def watcher(self) -> Watcher:
        """Notifies of changes."""
        ledger = self.ledger
        with self._opening:
            if self._watcher is None:
                self._watcher = Watcher(ledger)
            return self._watcher

    def url_of_ledger(self, app: Flask) -> str:
        """Where jobs are kept, for people."""
        if self.options.ledger is not None:
            return self.options.ledger
        return f"sqlite:///{Path(app.instance_path, 'concurrency', 'jobs.sqlite3')}"

    def names(self, queues: Collection[str] = ()) -> list[str]:
        """The names of the jobs of some queues; of all by default."""
        return [name for name, job in self.declared.items() if not queues or job.queue in queues]

    def check(self, app: Flask) -> None:
        """Refuse at the start of an app what would be refused in its first request.

        A file is looked at, if there is one, and closed again: servers fork after this. A server
        is not asked: it may not be there yet.

        :raises ConfigurationError: The configured ledger is no place to keep jobs, or not this
            app's.
        """
        configured = self.options.ledger is not None
        if app.testing and not configured:
            return
        url = self.url_of_ledger(app)
        ledger = open_ledger(url, app=self.namespace, volatile=app.testing or not configured)
        if url.startswith(SQLITE):
            ledger.check()

    def use(self, ledger: Ledger) -> None:
        """Keep jobs in another ledger from now on, as tests do."""
        with self._opening:
            self._ledger, self._watcher = ledger, None
            ledger.observe = self._count

    def owner(self) -> str:
        """The user who makes this request; ``""`` for none, and outside of requests."""
        if not has_request_context():
            return ""
        found = (self.options.owner or _logged_in)()
        return "" if found is None else str(found)

    def accept(self, record: JobRecord) -> tuple[JobRecord, bool]:
        """Keep a new job, and see to it that a missing worker is noticed."""
        kept, new = self.ledger.insert(record)
        if new:
            self.ledger.tell("submitted", kept)
            self.send(kept, now=kept.created_at)
            self._look_for_workers(kept.name)
        return kept, new

    def send(self, record: JobRecord, *, now: float | None = None) -> None:
        """Have the engine carry a queued job to a worker, if there is an engine.

        A message that cannot be sent is no reason to fail: the job is kept, and sent again.

        :param now: The instant by the ledger's clock, which may differ from this machine's.
            Default: the ledger is asked.
        """
        state = record.state
        if self.engine is None or state.status != "queued":
            return
        try:
            now = self.ledger.now() if now is None else now
            self.engine.send(record.id, record.queue, max(0.0, state.due_at - now))
        except Exception as error:
            logger.warning("Job %s could not be sent and is sent again later: %s", record.id, error)

    def _open(self) -> Ledger:
        app, options = self._app(), self.options
        assert app is not None
        capacity = Capacity(options.max_queued, options.max_queued_per_owner)
        if app.testing and options.ledger is None:
            home = tempfile.mkdtemp(prefix="jobs-")
            atexit.register(shutil.rmtree, home, ignore_errors=True)
            url = f"sqlite:///{home}/jobs.sqlite3"
        else:
            url = self.url_of_ledger(app)
        return open_ledger(
            url,
            app=self.namespace,
            capacity=capacity,
            volatile=app.testing,
            lease=options.lease,
        )

    def _count(self, event: str, record: JobRecord) -> None:
        """Count an event of a job, if the app shows what it counts."""
        app = self._app()
        if app is None or record.name not in self.declared:
            return
        counters = app.extensions["concurrency"].counters
        if counters.counts_requests:
            counters.get().add([JOBS.once(record.name, event)])

    def tell_unavailable(self, error: JobsUnavailable) -> None:
        """Log why clients are answered with 503, at most every ten seconds."""
        now = monotonic()
        if now >= self._told_at + TELL_UNAVAILABLE_EVERY:
            self._told_at = now
            logger.error("Jobs are answered with 503: %s", error)

    def _look_for_workers(self, name: str) -> None:
        """Log if no worker would run a job, at most every five minutes."""
        now = monotonic()
        app = self._app()
        carried = self.engine is not None  # its workers are known here once they have run a job
        if carried or now < self._seen_at + WARN_EVERY or app is None or app.testing:
            return
        self._seen_at = now
        if current_job() is not None:
            return
        try:
            if any(name in worker.names for worker in self.ledger.workers()):
                return
        except JobsUnavailable:
            return
        logger.warning(
            "Job %r was accepted and is kept, but no worker is running it: start one with "
            "'flask concurrency worker', or serve the app with 'flask concurrency serve'.",
            name,
        )


def jobs_of(app: Flask) -> AppJobs | None:
    """What an app has for its jobs; ``None`` if it has declared none."""
    found = app.extensions.get(EXTENSION)
    return found if isinstance(found, AppJobs) else None


def find_function(name: str) -> Callable[..., Any]:
    """The function of a job of the app in context, in the process that runs it.

    :raises LookupError: The app has declared no such job.
    """
    found = jobs_of(current_app._get_current_object())  # type: ignore[attr-defined]
    if found is None or name not in found.declared:
        raise LookupError(
            f"{current_app.name!r} declares no job {name!r} in the process that was to run it. "
            "Declare it where the app is made, so that it is there wherever the app is imported."
        )
    return found.declared[name].function


def _logged_in() -> object:
    """The user who is logged in with Flask-Login; ``None`` without it."""
    if not hasattr(current_app, "login_manager"):
        return None
    from flask_login import current_user  # type: ignore[import-untyped]

    return current_user.get_id() if current_user and current_user.is_authenticated else None
