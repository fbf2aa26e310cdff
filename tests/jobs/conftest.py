"""Ledgers for the tests of jobs. Knows no worker process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.jobs.drill import Drill

from flask_concurrency.jobs.ledger import Capacity, Ledger, WorkerInfo
from flask_concurrency.jobs.sqlite_ledger import SqliteLedger
from flask_concurrency.testing.manual_clock import ManualClock

MakeLedger = Callable[..., Ledger]


def worker_info(id: str, *names: str) -> WorkerInfo:
    """What a worker of a test says of itself."""
    return WorkerInfo(id, "here", os.getpid(), names or ("report",), 1, 0.0)


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the ledgers of a test."""
    return ManualClock(1_000.0)


@pytest.fixture(params=["sqlite"])
def make_ledger(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> Iterator[MakeLedger]:
    """Open the ledger of this test, as another process would; of each kind."""
    opened: list[Ledger] = []

    def make(capacity: Capacity = Capacity()) -> Ledger:  # noqa: B008 # frozen
        ledger = SqliteLedger(
            tmp_path / "jobs" / "jobs.sqlite3",
            app="shop",
            capacity=capacity,
            volatile=True,
            clock=clock,
            draw=lambda: 0.5,
        )
        opened.append(ledger)
        return ledger

    yield make
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(make_ledger: MakeLedger) -> Ledger:
    """A ledger without jobs, and with a worker ``w1``."""
    ledger = make_ledger()
    ledger.join(worker_info("w1"))
    return ledger


@pytest.fixture(params=["sqlite"])
def drill(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Drill]:
    """A place for drills with real processes, on each kind of ledger."""
    place = Drill(f"sqlite:///{tmp_path / 'jobs.sqlite3'}", tmp_path)
    yield place
    place.close()
