"""Jobs that Celery carries: with its default settings, through kills and lost messages."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.jobs.drill import runs
from tests.stores.conftest import RedisServer, find_port

from flask_concurrency.flask_app.jobs import app_jobs
from flask_concurrency.jobs.record import JobRecord

APPS = Path(__file__).parents[1] / "apps"
WITHIN = 40.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server for messages and jobs."""
    with RedisServer(port=find_port()) as made:
        yield made


class Shop:
    """The app in this process, and Celery workers as others."""

    def __init__(self, module: ModuleType, environment: dict[str, str], says: Path) -> None:
        self.module = module
        self.app = module.app
        self._environment = environment
        self._says = says
        self._workers: list[subprocess.Popen[bytes]] = []

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a Celery worker with two processes, with its default settings."""
        command = [sys.executable, "-m", "celery", "-A", "celery_shop:celery", "worker"]
        with self._says.with_name("log").open("ab") as log:
            worker = subprocess.Popen(
                [*command, "-c", "2", "-l", "warning", "--without-mingle", "--without-gossip"],
                cwd=APPS,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._workers.append(worker)
        return worker

    def submit(self, name: str, *args: Any) -> str:
        """Submit a job; its id."""
        with self.app.app_context():
            id: str = getattr(self.module, name).submit(*args).id
            return id

    def get(self, id: str) -> JobRecord:
        """The record of a job."""
        record = self.app.extensions["concurrency_jobs"].ledger.get(id)
        assert isinstance(record, JobRecord), "lost"
        return record

    def said(self, id: str) -> list[tuple[str, int, int]]:
        """Event, attempt and process of each line of a job."""
        lines = [line.split() for line in self._says.read_text().splitlines()]
        return [(event, int(n), int(pid)) for event, job, n, pid in lines if job == id]

    def ended(self, id: str) -> JobRecord:
        """Wait for the end of a job."""
        self.until(lambda: self.get(id).state.done)
        return self.get(id)

    def until(self, ask: Callable[[], bool]) -> None:
        """Wait for what other processes do."""
        give_up_at = time.monotonic() + WITHIN
        while not ask():
            if time.monotonic() > give_up_at:
                pytest.fail(self._says.with_name("log").read_text()[-3000:])
            time.sleep(0.02)

    def close(self) -> None:
        """End the workers and whatever they left."""
        for worker in self._workers:
            try:
                os.killpg(worker.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            finally:
                worker.wait()
        self.app.extensions["concurrency_jobs"].ledger.close()


@pytest.fixture
def shop(server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The app, with messages and jobs of this test alone."""
    client = server.client()
    client.flushall()
    client.close()
    says = tmp_path / "says"
    says.touch()
    told = {
        "CELERY_SHOP_REDIS": f"redis://127.0.0.1:{server.port}/0",
        "CELERY_SHOP_SAYS": str(says),
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(APPS))
    sys.modules.pop("celery_shop", None)
    made = Shop(importlib.import_module("celery_shop"), {**os.environ, **told}, says)
    yield made
    made.close()
    made.module.celery.close()
    sys.modules.pop("celery_shop", None)


def test_celery_runs_jobs(shop: Shop) -> None:
    """Accepted over HTTP, carried by Celery, ended in the record; an error is tried again."""
    shop.worker()
    client = shop.app.test_client()
    address = client.post("/adds", json={"one": 1, "two": 2}).headers["Location"]
    failing = shop.submit("fail")
    shop.until(lambda: client.get(address).get_json()["done"])
    assert client.get(f"{address}/result").get_json() == 3
    record = shop.ended(failing)
    assert (record.state.status, len(shop.said(failing))) == ("failed", 2)
    late = shop.ended(shop.submit("too_long"))
    assert late.error is not None
    assert (late.state.status, late.error["type"]) == ("failed", "timeout")
    assert shop.ended(shop.submit("add", 3, 4)).result == '{"value":7}'


def test_a_killed_process_of_celery_loses_no_job(shop: Shop) -> None:
    """3: after its lease the job starts again, though Celery had acknowledged its message."""
    shop.worker()
    id = shop.submit("hold_first", "/never")
    shop.until(lambda: len(shop.said(id)) == 1)
    os.kill(shop.said(id)[0][2], signal.SIGKILL)
    record = shop.ended(id)
    assert record.state.status == "succeeded"
    assert [attempt.how for attempt in record.attempts] == ["interrupted", "succeeded"]


def test_a_killed_worker_of_celery_loses_no_job(shop: Shop) -> None:
    """4: the same with all of a worker, and another one that is started later."""
    first = shop.worker()
    id = shop.submit("hold_first", "/never")
    shop.until(lambda: len(shop.said(id)) == 1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    shop.worker()
    record = shop.ended(id)
    assert [attempt.how for attempt in record.attempts] == ["interrupted", "succeeded"]


def test_lost_and_doubled_messages_change_nothing(shop: Shop, server: RedisServer) -> None:
    """21: what got lost is sent again; twenty messages for one job start it once."""
    id = shop.submit("add", 1, 2)
    client = server.client()
    assert client.delete("celery") == 1  # Celery's queue: the message is lost
    client.close()
    doubled = shop.submit("hold_first", str(shop._says.with_name("gate")))
    for _ in range(20):
        shop.app.extensions["concurrency_jobs"].engine.send(doubled, "default", 0.0)
    shop.worker()
    shop.until(lambda: len(shop.said(doubled)) == 1)
    assert shop.ended(id).state.attempt == 1
    shop._says.with_name("gate").touch()
    assert shop.ended(doubled).state.attempt == 1
    assert len(shop.said(doubled)) == 1


def test_a_running_job_of_celery_is_cancelled(shop: Shop) -> None:
    """12: its process is gone, and the worker goes on."""
    shop.worker()
    id = shop.submit("hold_first", "/never")
    shop.until(lambda: len(shop.said(id)) == 1)
    with shop.app.app_context():
        shop.module.concurrency.jobs.cancel(id)
    assert shop.ended(id).state.status == "canceled"
    shop.until(lambda: not runs(shop.said(id)[0][2]))
    assert shop.ended(shop.submit("add", 1, 1)).state.status == "succeeded"


def test_a_broker_that_is_out_is_no_reason_to_refuse(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is kept, and the log says that it is sent later."""
    logged: list[str] = []
    monkeypatch.setattr(app_jobs.logger, "warning", lambda text, *_: logged.append(text))

    class Broken:
        def send(self, id: str, queue: str, delay: float) -> None:
            raise ConnectionError("no broker")

    jobs = shop.app.extensions["concurrency_jobs"]
    jobs.engine = Broken()
    id = shop.submit("add", 1, 2)
    assert shop.get(id).state.status == "queued"
    assert any("could not be sent and is sent again later" in text for text in logged)
