"""Jobs that RQ carries: an adapter in one class. The record on Redis decides what starts.

Run it with ``flask --app examples/jobs_on_rq/app run``, and beside it, in ``examples/jobs_on_rq``,
``rq worker`` and ``python -c "import app; app.sweep_for_ever()"``.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta

from flask import Flask, Response
from redis import Redis
from rq import Queue

from flask_concurrency import Concurrency
from flask_concurrency.job_engines import AppJobs, CarriedJobs

REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")


class RqEngine:
    """Carries ids of jobs in a queue of RQ."""

    def __init__(self, app: Flask, jobs: AppJobs) -> None:
        self.carried = CarriedJobs(app, jobs)
        self.queue = Queue(connection=Redis.from_url(REDIS))

    def send(self, id: str, queue: str, delay: float) -> None:
        """Put the id into the queue; a worker calls :func:`run_job` with it."""
        if delay:
            self.queue.enqueue_in(timedelta(seconds=delay), run_job, id)
        else:
            self.queue.enqueue(run_job, id)


def run_job(id: str) -> str:
    """Run a job in a worker of RQ, unless its record says that it is not to be run."""
    return carried().run(id)


def sweep_for_ever() -> None:
    """Send again what got lost, and give up what dead workers had."""
    while True:
        carried().sweep()
        time.sleep(2.0)


def carried() -> CarriedJobs:
    """What runs jobs here."""
    found: CarriedJobs = app.extensions["concurrency_jobs"].engine.carried
    return found


app = Flask(__name__)
app.config["CONCURRENCY_JOBS"] = {"ledger": REDIS, "engine": RqEngine}
concurrency = Concurrency(app)


@concurrency.job
def add(one: int, two: int) -> int:
    """A job as any other."""
    return one + two


@app.post("/sums/<int:one>/<int:two>")
def create(one: int, two: int) -> Response:
    """Accept a job."""
    return add.submit(one, two).accepted()
