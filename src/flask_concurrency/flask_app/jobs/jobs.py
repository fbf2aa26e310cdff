"""What ``concurrency.jobs`` offers: submit, get, list, cancel, retry, and the job that runs here.

Knows the app in context; knows no route.
"""

from __future__ import annotations

import builtins
import copy
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from flask import Flask, has_request_context

from flask_concurrency.flask_app.jobs.after_commit import when_committed
from flask_concurrency.flask_app.jobs.app_jobs import EXTENSION, AppJobs, jobs_of
from flask_concurrency.flask_app.jobs.celery_application import find_celery
from flask_concurrency.flask_app.jobs.declared_job import DeclaredJob, SubmitOptions
from flask_concurrency.flask_app.jobs.job import Job, PendingJob
from flask_concurrency.flask_app.jobs.openapi import fragment
from flask_concurrency.flask_app.jobs.options import CELERY, check_declared, read_job_options
from flask_concurrency.flask_app.jobs.preferences import MAX_KEY, idempotency_key
from flask_concurrency.jobs.attempt import ResultFile, Running, current_job
from flask_concurrency.jobs.ledger import Filter, WorkerInfo
from flask_concurrency.jobs.record import new_record
from flask_concurrency.policies.job_state import STATUSES, Status
from flask_concurrency.vocabulary.errors import ConfigurationError, JobError, JobNotFound

P = ParamSpec("P")
T = TypeVar("T")


class Jobs:
    """Jobs of the app in context.

    :param app: Gives it.
    """

    def __init__(self, app: Callable[[], Flask]) -> None:
        self._app = app
        self._declared: dict[str, DeclaredJob[Any, Any]] = {}

    @property
    def declared(self) -> Mapping[str, DeclaredJob[Any, Any]]:
        """Every declared job, by name."""
        return self._declared

    def declare(
        self,
        function: Callable[P, T],
        *,
        name: str | None,
        queue: str,
        options: dict[str, Any],
    ) -> DeclaredJob[P, T]:
        """Declare a function as a job.

        :raises ConfigurationError: An option is wrong, or another function has the name.
        """
        shown = name or str(getattr(function, "__name__", repr(function)))
        job = DeclaredJob(
            function,
            name=name,
            queue=queue,
            options=check_declared(shown, options),
            submit=self._submit,
        )
        other = self._declared.get(job.name)
        if other is not None and _place(other.function) != _place(function):
            raise ConfigurationError(
                f"Two functions are declared as job {job.name!r}: {_place(other.function)} and "
                f"{_place(function)}. Give one of them name=."
            )
        self._declared[job.name] = job
        return job

    def serve(self, app: Flask, options: Mapping[str, Any], namespace: str) -> AppJobs:
        """Let an app have jobs, as its configuration says.

        :raises ConfigurationError: An option is wrong, or jobs cannot be kept where it says.
        """
        jobs = AppJobs(app, read_job_options(options), self._declared, namespace)
        jobs.check(app)
        app.extensions[EXTENSION] = jobs
        engine = jobs.options.engine
        if engine == CELERY:
            engine = find_celery(app, jobs.options.app)
        if hasattr(engine, "send_task"):  # a Celery application
            from flask_concurrency.flask_app.jobs.celery_engine import CeleryEngine

            jobs.engine = CeleryEngine(engine, app, jobs)
        elif engine is not None:
            jobs.engine = engine(app, jobs)
        return jobs

    def submit(self, job: DeclaredJob[P, Any], *args: P.args, **kwargs: P.kwargs) -> Job:
        """Have a job's function called by a worker: the same as ``job.submit(...)``."""
        return job.submit(*args, **kwargs)

    def get(self, id: str) -> Job:
        """The job of an id, of any owner.

        :raises JobNotFound: There is none, or no longer.
        """
        jobs = self._of_app()
        record = jobs.ledger.get(id)
        if record is None:
            raise JobNotFound(f"There is no job {id!r}, or no longer.")
        return Job(jobs, record)

    def list(
        self,
        *,
        owner: str | None = None,
        status: Status | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> builtins.list[Job]:
        """Jobs, newest first.

        :param owner: Whose. Default: those of all owners.
        :param status: In which state. Default: any.
        :param limit: How many at most.
        :param after: The id of the last one of the page before.
        :raises ValueError: ``status`` or ``limit`` is no such thing.
        """
        if status is not None and status not in STATUSES:
            raise ValueError(f"status={status!r}: choose one of {', '.join(STATUSES)}.")
        if limit < 1:
            raise ValueError(f"limit={limit!r}: give at least 1.")
        jobs = self._of_app()
        found = jobs.ledger.find(Filter(owner, status, limit, after))
        return [Job(jobs, record) for record in found]

    def cancel(self, id: str) -> Job:
        """Ask for a job's end; it runs until its worker has ended it.

        :raises JobNotFound: There is none.
        """
        return self.get(id).cancel()

    def retry(self, id: str) -> Job:
        """Queue a job again that failed or was cancelled, with fresh budgets.

        :raises JobNotFound: There is none.
        :raises JobNotDone: It did neither.
        """
        return self.get(id).retry()

    def workers(self) -> builtins.list[WorkerInfo]:
        """The workers that are alive, and which jobs each runs."""
        return self._of_app().ledger.workers()

    def openapi(self) -> dict[str, Any]:
        """The routes of jobs for the app's own OpenAPI 3.1 document: ``paths`` and ``components``.

        A view that returns ``accepted()`` refers to ``#/components/responses/JobAccepted`` for
        202, and to ``#/components/parameters/IdempotencyKey``.
        """
        self._of_app()
        return copy.deepcopy(fragment(self._app()))

    @property
    def current(self) -> Running:
        """The job that runs here.

        :raises JobError: None does: the function was called, not submitted.
        """
        running = current_job()
        if running is None:
            raise JobError(
                "No job runs here. In a function that is also called directly, ask "
                "concurrency.jobs.running() first."
            )
        return running

    @staticmethod
    def running() -> Running | None:
        """The job that runs here, if one does."""
        return current_job()

    @staticmethod
    def file(
        path: str, *, mimetype: str | None = None, download_name: str | None = None
    ) -> ResultFile:
        """What a job returns whose result is a file; the file is moved to where results are kept.

        :param path: Where the job has written it.
        :param mimetype: What it is. Default: guessed by its name.
        :param download_name: What it is called where it is downloaded. Default: its name.
        """
        return ResultFile(str(path), mimetype, download_name)

    def _of_app(self) -> AppJobs:
        app = self._app()
        found = jobs_of(app)
        if found is None:
            raise ConfigurationError(
                f"{app.name!r} has no jobs: declare one with @concurrency.job, and call "
                "concurrency.init_app(app)."
            )
        return found

    def _submit(
        self,
        job: DeclaredJob[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        said: SubmitOptions,
    ) -> Job:
        jobs = self._of_app()
        record = new_record(
            job.name,
            args,
            kwargs,
            max_arguments=jobs.options.max_arguments,
            queue=job.queue,
            owner=jobs.owner() if said.owner is None else said.owner,
            key=_checked(said.key) if said.key is not None else _requested(job.name),
            rules=jobs.options.rules(job.options),
            delay=_delay(said.delay),
        )
        if said.after_commit is not None:
            pending = PendingJob(jobs, record)
            when_committed(said.after_commit, pending.accept)
            return pending
        kept, new = jobs.accept(record)
        return Job(jobs, kept, replayed=not new)


def _requested(name: str) -> str | None:
    return idempotency_key(name) if has_request_context() else None


def _checked(key: str) -> str:
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY:
        raise ValueError(f"key={key!r}: give a text of 1 to {MAX_KEY} characters.")
    return key


def _delay(delay: float) -> float:
    good = isinstance(delay, int | float) and not isinstance(delay, bool)
    if not good or not 0 <= delay < 100 * 366 * 86_400:
        raise ValueError(f"delay={delay!r}: give seconds, at least 0.")
    return float(delay)


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
