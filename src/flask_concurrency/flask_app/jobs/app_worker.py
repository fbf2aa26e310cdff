"""Make the worker of an app: its ledger, its jobs, and processes that import the app.

Knows what of Flask a process needs; knows no command and no signal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

from flask import Flask

from flask_concurrency.executors.processes.executor import ProcessExecutor
from flask_concurrency.flask_app.jobs.app_jobs import AppJobs, find_function
from flask_concurrency.flask_app.work.worker_app import WorkerApp
from flask_concurrency.jobs.process_start import ProcessStart
from flask_concurrency.jobs.worker import Worker

OPTIONS_OF_PROCESSES: Final = ("preload", "start_method", "max_tasks_per_worker")
"""Of ``CONCURRENCY_PROCESSES``, what holds for the processes of jobs, too."""


@contextmanager
def worker_of(
    app: Flask,
    jobs: AppJobs,
    *,
    queues: Collection[str] = (),
    processes: int | None = None,
    drain_timeout: float = 30.0,
) -> Iterator[Worker]:
    """A worker for the jobs of an app, and the processes that it runs them in.

    :param queues: Whose jobs it runs. Default: all.
    :param processes: Jobs that run at once. Default: as configured.
    """
    configured = app.extensions["concurrency"].settings.processes
    options: dict[str, Any] = {
        name: configured[name] for name in OPTIONS_OF_PROCESSES if name in configured
    }
    executor = ProcessExecutor(
        processes or jobs.options.processes,
        task_context=WorkerApp(app, configured.get("app") or None),
        max_memory=jobs.options.max_memory,
        max_queue=None,
        idle_timeout=300.0,
        drain_timeout=1.0,
        name="jobs",
        **options,
    )
    ledger = jobs.ledger
    start = ProcessStart(ledger, executor, find_function, max_result=jobs.options.max_result)
    executor.submit(abs, 0)  # so that the app is imported before the first job comes
    try:
        yield Worker(
            ledger,
            start,
            jobs.names(queues),
            processes=executor.max_workers,
            drain_timeout=drain_timeout,
        )
    finally:
        executor.kill_workers()
