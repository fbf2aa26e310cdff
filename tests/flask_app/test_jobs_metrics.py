"""Jobs in the metrics of an app: each event once, by the names of its jobs alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from flask_concurrency import Concurrency
from flask_concurrency.flask_app.jobs.app_jobs import AppJobs, jobs_of
from flask_concurrency.flask_app.jobs.engine import CarriedJobs
from flask_concurrency.jobs.ledger import Outcome, WorkerInfo
from flask_concurrency.jobs.record import JobRecord, new_record
from flask_concurrency.jobs.worker import Worker

SAMPLE = "flask_concurrency_jobs_events_total"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """An app with a job, which shows its metrics."""
    app = made(tmp_path)
    app.extensions["concurrency_of_test"].metrics(app)
    yield app
    jobs(app).ledger.close()


def made(tmp_path: Path) -> Flask:
    """An app with a job."""
    app = Flask("shop", instance_path=str(tmp_path))
    app.testing = True
    app.config["CONCURRENCY_JOBS"] = {"ledger": f"sqlite:///{tmp_path / 'jobs.sqlite3'}"}
    concurrency = app.extensions["concurrency_of_test"] = Concurrency(app)

    @concurrency.job(interruptions=0)
    def report(year: int) -> int:
        return 2026 // year

    @app.post("/reports/<int:year>")
    def create(year: int) -> Any:
        return report.submit(year).accepted()

    return app


def jobs(app: Flask) -> AppJobs:
    """The jobs of an app."""
    found = jobs_of(app)
    assert found is not None
    return found


def submit(app: Flask, year: int = 1, key: str | None = None) -> str:
    """Submit a job; its id."""
    headers = {} if key is None else {"Idempotency-Key": key}
    id: str = app.test_client().post(f"/reports/{year}", headers=headers).get_json()["id"]
    return id


def shown(app: Flask) -> dict[str, float]:
    """What Prometheus reads of jobs, by event."""
    samples = [
        sample
        for family in text_string_to_metric_families(app.test_client().get("/metrics").text)
        for sample in family.samples
        if sample.name == SAMPLE
    ]
    assert {sample.labels["job"] for sample in samples} <= {"report"}
    assert {len(sample.labels) for sample in samples} <= {2}
    return {sample.labels["event"]: sample.value for sample in samples}


def worker_ending_with(app: Flask, outcome: Outcome) -> Worker:
    """A worker whose attempts end at once."""

    def start(record: JobRecord, worker: str) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        future.set_result(outcome)
        return future

    return Worker(jobs(app).ledger, start, ["report"], poll=0.0)


def test_a_job_is_counted_once_at_each_event(app: Flask) -> None:
    """Submitted, started, ended; a request that is repeated submits nothing."""
    submit(app, key="k")
    submit(app, key="k")
    assert shown(app) == {"submitted": 1}
    worker_ending_with(app, Outcome("succeeded", result='{"value":1}')).run(burst=True)
    assert shown(app) == {"submitted": 1, "started": 1, "succeeded": 1}
    submit(app)
    worker_ending_with(app, Outcome("error", error={"type": "error"})).run(burst=True)
    assert shown(app) == {"submitted": 2, "started": 2, "succeeded": 1, "failed": 1}


def test_a_cancelled_job_is_counted_once(app: Flask) -> None:
    """However often its client asks."""
    id = submit(app)
    for _ in range(3):
        app.test_client().delete(f"/jobs/{id}")
    assert shown(app) == {"submitted": 1, "canceled": 1}


def test_a_job_of_a_worker_that_died_is_counted(app: Flask) -> None:
    """Rescued by the next worker, and failed where its budget is spent."""
    submit(app)
    ledger = jobs(app).ledger
    ledger.join(WorkerInfo("w1", "here", 1, ("report",), 1, 0.0))
    ledger.claim("w1", ["report"], 1)
    ledger.leave("w1")
    worker_ending_with(app, Outcome("succeeded")).run(burst=True)
    assert shown(app) == {"submitted": 1, "rescued": 1, "failed": 1}


def test_a_job_that_an_engine_carries_is_counted(app: Flask) -> None:
    """The same events in the process in which the engine runs it."""
    carried = CarriedJobs(app, jobs(app))
    assert carried.run(submit(app, 2)) == "succeeded"
    assert carried.run(submit(app, 0)) == "failed"
    assert shown(app) == {"submitted": 2, "started": 2, "succeeded": 1, "failed": 1}
    jobs(app).ledger.leave(carried._joined())


def test_a_name_that_the_app_does_not_declare_makes_no_series(app: Flask) -> None:
    """A file may hold jobs of another version of the program."""
    record, _ = jobs(app).ledger.insert(new_record("old", [], {}, max_arguments=100))
    jobs(app).ledger.cancel(record.id)
    assert shown(app) == {}


def test_an_app_that_shows_no_metrics_counts_no_jobs(tmp_path: Path) -> None:
    """Nothing is opened for counters."""
    app = made(tmp_path)
    submit(app)
    assert app.extensions["concurrency"].counters._counters is None
    jobs(app).ledger.close()
