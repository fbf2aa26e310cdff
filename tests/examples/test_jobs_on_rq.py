"""RQ carries jobs through an adapter of one class."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from tests.stores.conftest import RedisServer


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A Redis server of this test."""
    with RedisServer() as server:
        yield server.url


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_worker_of_rq_runs_a_job(
    load_example: Callable[[str], Flask], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is 202, RQ delivers the id, and the record has the result; doubled, it stays."""
    from rq import SimpleWorker

    monkeypatch.setenv("REDIS_URL", redis_url)
    app = load_example("jobs_on_rq/app")
    app.testing = True
    client = app.test_client()
    address = client.post("/sums/1/2").headers["Location"]
    jobs = app.extensions["concurrency_jobs"]
    jobs.engine.send(address.removeprefix("/jobs/"), "default", 0.0)
    queue = jobs.engine.queue
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    assert SimpleWorker([queue], connection=queue.connection).work(burst=True)
    for number, handler in before.items():  # it takes them, and keeps them
        signal.signal(number, handler)
    told = client.get(address).get_json()
    assert (told["status"], len(told["attempts"])) == ("succeeded", 1)
    assert client.get(f"{address}/result").get_json() == 3
    jobs.ledger.close()
    queue.connection.close()
    assert sys.modules["app"].carried() is jobs.engine.carried
