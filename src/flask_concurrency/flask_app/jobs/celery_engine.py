"""Carry ids of jobs with Celery; the one file that needs it. Requires nothing of its settings.

The message is an id. Whether Celery acknowledges early or late, loses or repeats it: the record
decides whether a job starts.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from celery import Celery, signals
from flask import Flask

from flask_concurrency.flask_app.jobs.app_jobs import AppJobs
from flask_concurrency.flask_app.jobs.engine import CarriedJobs

TASK: Final = "flask_concurrency.run_job"
"""The name of the task, before the app's own: apps may share a Celery application."""
SWEEP_EVERY: Final = 2.0


class CeleryEngine:
    """Sends ids as Celery's messages, and runs jobs in its workers.

    :param celery: The app's Celery application.
    """

    def __init__(self, celery: Celery, app: Flask, jobs: AppJobs) -> None:
        carried = self._carried = CarriedJobs(app, jobs)

        def run_job(id: str) -> str:  # a method would be bound to the task
            return carried.run(id)

        name = f"{TASK}:{jobs.namespace}"
        self._task: Any = celery.task(name=name, ignore_result=True, shared=False)(run_job)
        self._ended = threading.Event()
        signals.worker_ready.connect(self._begin_sweeping)
        signals.worker_shutdown.connect(self._stop_sweeping)

    def send(self, id: str, queue: str, delay: float) -> None:
        """Send the id."""
        routed = {} if queue == "default" else {"queue": queue}
        self._task.apply_async((id,), countdown=delay or None, retry=False, **routed)

    def _begin_sweeping(self, **_: object) -> None:
        threading.Thread(target=self._sweep, name="job-sweep", daemon=True).start()

    def _stop_sweeping(self, **_: object) -> None:
        self._ended.set()

    def _sweep(self) -> None:
        while not self._ended.wait(SWEEP_EVERY):
            self._carried.sweep()
