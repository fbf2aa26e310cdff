"""Ledgers for the tests of jobs. Knows no worker process."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.jobs.drill import Drill
from tests.jobs.waiting_worker import WaitingWorker
from tests.stores.conftest import RedisServer

from flask_concurrency.jobs.ledger import Capacity, Ledger, WorkerInfo
from flask_concurrency.jobs.redis_ledger import RedisLedger
from flask_concurrency.jobs.sqlite_ledger import SqliteLedger
from flask_concurrency.policies.job_state import DAY
from flask_concurrency.testing.manual_clock import ManualClock

MakeLedger = Callable[..., Ledger]
Run = Callable[..., WaitingWorker]


def worker_info(id: str, *names: str) -> WorkerInfo:
    """What a worker of a test says of itself."""
    return WorkerInfo(id, "here", os.getpid(), names or ("report",), 1, 0.0)


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the ledgers of a test."""
    return ManualClock(1_000.0)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server for all tests of jobs; each has a namespace of its own."""
    with RedisServer() as server:
        yield server.url


_namespaces = itertools.count()


@pytest.fixture(params=["sqlite", "redis"])
def make_ledger(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, redis_url: str
) -> Iterator[MakeLedger]:
    """Open the ledger of this test, as another process would; of each kind."""
    opened: list[Ledger] = []
    namespace = f"test-{os.getpid()}-{next(_namespaces)}"

    def make(capacity: Capacity = Capacity()) -> Ledger:  # noqa: B008 # frozen
        ledger = open_sqlite(capacity) if request.param == "sqlite" else open_redis(capacity)
        opened.append(ledger)
        return ledger

    def open_redis(capacity: Capacity) -> Ledger:
        return RedisLedger(
            redis_url,
            app=namespace,
            capacity=capacity,
            volatile=True,
            clock=clock,
            lease=100.0 * DAY,
            draw=lambda: 0.5,
        )

    def open_sqlite(capacity: Capacity) -> Ledger:
        return SqliteLedger(
            tmp_path / "jobs" / "jobs.sqlite3",
            app="shop",
            capacity=capacity,
            volatile=True,
            clock=clock,
            draw=lambda: 0.5,
        )

    yield make
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(make_ledger: MakeLedger) -> Ledger:
    """A ledger without jobs, and with a worker ``w1``."""
    ledger = make_ledger()
    ledger.join(worker_info("w1"))
    return ledger


@pytest.fixture(params=["sqlite", "redis"])
def drill(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[Drill]:
    """An environment for drills with real processes, on each kind of ledger."""
    place = make_drill(request.param, tmp_path, redis_url)
    yield place
    place.close()


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def calm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_url: str
) -> Iterator[Drill]:
    """One with a worker that no test harms: those of a file share it."""
    place = make_drill(request.param, tmp_path_factory.mktemp("calm"), redis_url)
    place.worker()
    yield place
    place.close()


def make_drill(kind: str, home: Path, redis_url: str) -> Drill:
    """Make an environment on a kind of ledger."""
    url = redis_url if kind == "redis" else f"sqlite:///{home / 'jobs.sqlite3'}"
    return Drill(url, home, app=f"drill-{os.getpid()}-{next(_namespaces)}")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis server of one test."""
    with RedisServer() as made:
        yield made


@pytest.fixture
def run() -> Iterator[Run]:
    """Start workers that are stopped with the test: ``run(url, poll=None)``."""
    made: list[WaitingWorker] = []

    def start(url: str, **options: float | None) -> WaitingWorker:
        made.append(WaitingWorker(url, **options))
        return made[-1]

    yield start
    for each in made:
        assert each.stop()
