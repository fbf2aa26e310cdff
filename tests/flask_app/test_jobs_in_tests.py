"""Jobs of a user's test suite: run by hand, or at once when they are submitted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app, has_request_context

from flask_concurrency import Concurrency, ConfigurationError
from flask_concurrency.flask_app.jobs.app_jobs import jobs_of
from flask_concurrency.testing.jobs import jobs_run_inline, run_jobs


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """An app with a job that submits others, one that fails, and one that reports its progress."""
    app = Flask("shop", instance_path=str(tmp_path))
    app.testing = True
    concurrency = Concurrency(app)

    @concurrency.job
    def count_down(number: int) -> list[Any]:
        concurrency.jobs.current.progress(0.5, "half")
        if number:
            count_down.submit(number - 1)
        return [number, current_app.name, has_request_context()]

    @concurrency.job
    def fail() -> None:
        raise ValueError("as told")

    @app.post("/counts/<int:number>")
    def create(number: int) -> Any:
        return count_down.submit(number).accepted()

    @app.post("/fails")
    def create_fail() -> Any:
        return fail.submit().accepted()

    yield app
    found = jobs_of(app)
    assert found is not None
    found.ledger.close()


def test_jobs_run_when_the_test_says_so(app: Flask) -> None:
    """All that are due, and what they submit; each outside of any request."""
    client = app.test_client()
    address = client.post("/counts/2").headers["Location"]
    assert client.get(address).get_json()["status"] == "queued"
    ran = run_jobs(app)
    assert [job.result() for job in ran] == [[n, "shop", False] for n in (2, 1, 0)]
    assert client.get(f"{address}/result").get_json() == [2, "shop", False]
    assert client.get(address).get_json()["progress"]["message"] == "half"
    assert run_jobs(app) == []


def test_a_failure_is_kept_with_its_traceback(app: Flask) -> None:
    """The test sees what the function raised."""
    app.test_client().post("/fails")
    (job,) = run_jobs(app)
    assert job.status == "failed"
    assert job.error is not None
    assert "ValueError: as told" in job.error["traceback"]


def test_a_job_that_submits_itself_for_ever_ends(app: Flask) -> None:
    """With the limit."""
    app.test_client().post("/counts/100")
    assert len(run_jobs(app, limit=5)) == 5


def test_jobs_run_at_once(app: Flask) -> None:
    """Within the block the answer to the submit shows the end; after it, jobs wait again."""
    client = app.test_client()
    with jobs_run_inline(app):
        told = client.post("/counts/1").get_json()
        assert (told["status"], told["done"]) == ("succeeded", True)
    assert client.post("/counts/1").get_json()["status"] == "queued"


def test_an_app_without_jobs_is_told(tmp_path: Path) -> None:
    """The remedy is in the message."""
    app = Flask("plain", instance_path=str(tmp_path))
    Concurrency(app)
    with pytest.raises(ConfigurationError, match="'plain' has no jobs"):
        run_jobs(app)
