"""Jobs in the metrics of an app and on its dashboard: each event once, by the name of its job."""

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
from flask_concurrency.vocabulary.errors import JobsUnavailable

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


def gauges(app: Flask) -> dict[str, float]:
    """How jobs stand, as Prometheus reads it."""
    prefix = "flask_concurrency_jobs_"
    return {
        sample.name.removeprefix(prefix): sample.value
        for family in text_string_to_metric_families(app.test_client().get("/metrics").text)
        for sample in family.samples
        if sample.name.startswith(prefix) and sample.name != SAMPLE
    }


def test_how_jobs_stand_is_shown(app: Flask) -> None:
    """Queued, running, the longest wait, workers alive; of the record, whoever counts."""
    assert gauges(app) == {"queued": 0, "running": 0, "longest_wait_seconds": 0, "workers": 0}
    submit(app)
    submit(app)
    ledger = jobs(app).ledger
    ledger.join(WorkerInfo("w1", "here", 1, ("report",), 1, 0.0))
    ledger.claim("w1", ["report"], 1)
    told = gauges(app)
    assert told.pop("longest_wait_seconds") > 0
    assert told == {"queued": 1, "running": 1, "workers": 1}
    ledger.leave("w1")


def test_workers_of_an_engine_are_not_shown(app: Flask) -> None:
    """They are known here only once they have run a job."""
    jobs(app).engine = CarriedJobs(app, jobs(app))  # type: ignore[assignment] # not asked
    assert "workers" not in gauges(app)


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch, app: Flask) -> list[int]:
    """Jobs that cannot be read; a line for each time that they are asked for."""
    asked: list[int] = []

    def counts() -> None:
        asked.append(1)
        raise JobsUnavailable("out")

    monkeypatch.setattr(jobs(app).ledger, "counts", counts)
    return asked


def test_jobs_that_cannot_be_read_cost_no_other_metric(app: Flask, lost: list[int]) -> None:
    """A server that is out is no reason to show nothing."""
    assert gauges(app) == {}
    assert lost


@pytest.fixture
def dashboard(app: Flask) -> Flask:
    """The app, with its dashboard."""
    app.extensions["concurrency_of_test"].dashboard(app)
    return app


def told(app: Flask) -> dict[str, Any]:
    """What the page is told."""
    message: dict[str, Any] = app.test_client().get("/_concurrency/data.json").get_json()
    return message


def test_the_dashboard_tells_of_jobs(dashboard: Flask) -> None:
    """Numbers, names and the sentence on top."""
    submit(dashboard)
    submit(dashboard, year=0)
    message = told(dashboard)
    assert "Jobs: 2 queued, the oldest for" in message["words"]
    assert "no worker is alive" in message["words"]
    assert message["level"] == "bad"
    worker_ending_with(dashboard, Outcome("error", error={"type": "error"})).run(burst=True)
    message = told(dashboard)
    assert message["words"].endswith("Jobs: 2 failed lately.")
    assert message["level"] == "busy"
    shown = message["jobs"]
    assert (shown["queued"], shown["running"], shown["workers"]) == (0, 0, 0)
    (row,) = shown["names"]
    assert (row["name"], row["submitted"], row["failed"], row["canceled"]) == ("report", 2, 2, 0)


def test_the_dashboard_does_not_wait_for_lost_jobs_each_time(
    dashboard: Flask, lost: list[int]
) -> None:
    """It says so, and asks again in some seconds."""
    for _ in range(3):
        message = told(dashboard)
        assert message["words"].endswith("Jobs can be neither read nor accepted.")
        assert message["level"] == "bad"
    assert len(lost) == 1


def test_the_dashboard_of_an_app_without_jobs_has_none(tmp_path: Path) -> None:
    """No section for what there is not."""
    app = Flask("plain", instance_path=str(tmp_path))
    app.testing = True
    Concurrency(app).dashboard(app)
    assert told(app)["jobs"] is None
