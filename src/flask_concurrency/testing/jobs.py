"""Run an app's jobs inside a test: when the test calls for it, or at once when submitted.

The functions run in the process and thread of the test, each in an app context of its own; all else
is as with a worker: arguments and results cross as JSON, errors are kept, retries are counted.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from flask import Flask

from flask_concurrency.flask_app.jobs.app_jobs import AppJobs, find_function, jobs_of
from flask_concurrency.flask_app.jobs.job import Job
from flask_concurrency.jobs.attempt import Running, call
from flask_concurrency.jobs.ledger import WorkerInfo
from flask_concurrency.jobs.record import JobRecord
from flask_concurrency.vocabulary.errors import ConfigurationError


def run_jobs(app: Flask, *, limit: int = 1_000) -> list[Job]:
    """Run the jobs that are due, and those that they submit, and return them as they ended.

    .. code-block:: python

        def test_a_report_is_built(app, client):
            client.post("/reports", json={"year": 2026})
            (job,) = run_jobs(app)
            assert job.result() == {"rows": 12000}

    A job that waits for its time or for a retry is left. What a function raises is in
    ``job.error``, with its traceback.

    :param limit: How many at most, since a job may submit itself for ever.
    :raises ConfigurationError: The app has no jobs.
    """
    jobs = _jobs(app)
    ledger, worker = jobs.ledger, f"test-{os.getpid()}-{secrets.token_hex(8)}"
    ledger.join(WorkerInfo(worker, "test", os.getpid(), tuple(jobs.names()), 1, 0.0))
    ran: list[Job] = []
    try:
        while len(ran) < limit and (claimed := ledger.claim(worker, jobs.names(), 1)):
            ran.append(_run(app, jobs, claimed[0]))
    finally:
        ledger.leave(worker)
    return ran


@contextmanager
def jobs_run_inline(app: Flask) -> Iterator[None]:
    """Let each job run when it is submitted: ``submit`` returns once it has ended.

    :raises ConfigurationError: The app has no jobs.
    """
    jobs = _jobs(app)
    accept = jobs.accept

    def accept_and_run(record: JobRecord) -> tuple[JobRecord, bool]:
        kept, new = accept(record)
        if new:
            run_jobs(app)
        return jobs.ledger.get(kept.id) or kept, new

    jobs.accept = accept_and_run  # type: ignore[method-assign]
    try:
        yield
    finally:
        del jobs.accept


def _run(app: Flask, jobs: AppJobs, record: JobRecord) -> Job:
    ledger, attempt = jobs.ledger, record.state.attempt
    report = partial(ledger.report_progress, record.id, attempt)
    args, kwargs = record.call_arguments()
    with app.app_context():
        function = find_function(record.name)
        running = Running(record.id, attempt, report)
        outcome = call(function, args, kwargs, running, jobs.options.max_result, ledger.files)
    ended = ledger.end(record.id, attempt, outcome)
    return Job(jobs, ended or record)


def _jobs(app: Flask) -> AppJobs:
    jobs = jobs_of(app)
    if jobs is None:
        raise ConfigurationError(
            f"{app.name!r} has no jobs: declare one with @concurrency.job, and call "
            "concurrency.init_app(app)."
        )
    return jobs
