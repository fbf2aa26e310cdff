"""RQ carries jobs through an adapter of one class."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from tests.examples.conftest import EXAMPLES
from tests.stores.conftest import RedisServer


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A Redis server of this test."""
    with RedisServer() as server:
        yield server.url


@pytest.mark.slow
def test_a_worker_of_rq_runs_a_job(
    load_example: Callable[[str], Flask], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is 202, RQ delivers the id, and the record has the result; doubled, it stays."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    app = load_example("jobs_on_rq/app")
    app.testing = True
    client = app.test_client()
    address = client.post("/sums/1/2").headers["Location"]
    jobs = app.extensions["concurrency_jobs"]
    jobs.engine.send(address.removeprefix("/jobs/"), "default", 0.0)
    queue = jobs.engine.queue
    program = str(Path(sys.executable).with_name("rq"))
    command = [program, "worker", "--burst", "--url", redis_url]
    done = subprocess.run(
        [*command, "--path", str(EXAMPLES / "jobs_on_rq")],
        env={**os.environ, "REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    told = client.get(address).get_json()
    assert (told["status"], len(told["attempts"])) == ("succeeded", 1)
    assert client.get(f"{address}/result").get_json() == 3
    jobs.ledger.close()
    queue.connection.close()
    assert sys.modules["app"].carried() is jobs.engine.carried
