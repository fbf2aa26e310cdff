"""Chapter 6, jobs: a report that outlives its request, its server and the worker that runs it.

On the page's own server, so that the page and the element that follows the job share an origin.
"""

from __future__ import annotations

import os
import signal
import time

from examples.demo.parameters import number
from flask import Blueprint
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import Conflict, NotFound

from flask_concurrency import Concurrency, JobNotFound

MONTHS = 12
OPTIONS = {"processes": 2, "max_queued": 100}

concurrency = Concurrency()
reporting = Blueprint("reporting", __name__, url_prefix="/reports")


@concurrency.job(timeout=60)
def report(seconds: float) -> dict[str, int]:
    job = concurrency.jobs.current
    for month in range(MONTHS):
        job.progress(month / MONTHS, f"month {month + 1} of {MONTHS}")
        time.sleep(seconds / MONTHS)
    return {"months": MONTHS}


@reporting.post("")
def create() -> ResponseReturnValue:
    return report.submit(number("seconds", default=4, least=0.1, most=30)).accepted()


@reporting.post("/<id>/kill-its-worker")
def kill_its_worker(id: str) -> ResponseReturnValue:
    """Send SIGKILL to the worker that runs a job, as a machine that runs out of memory would."""
    try:
        job = concurrency.jobs.get(id)
    except JobNotFound:
        raise NotFound("There is no such job.") from None
    if job.status != "running":
        raise Conflict(f"The job is {job.status}: no worker runs it.")
    killed = [worker.process for worker in concurrency.jobs.workers()]
    for process in killed:
        os.kill(process, signal.SIGKILL)
    return {"killed": killed}
