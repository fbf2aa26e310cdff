"""Measure what it costs to accept a job and to ask for one, beside huey and Celery.

A job that was accepted here is on the disk; so a bare ``fdatasync`` is the other thing to compare
with. Celery's and ours on Redis write to a server that keeps nothing on its disk.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject, Trial
from benchmarks.tables.redis import RedisProcess
from benchmarks.wsgi_call import WrongAnswer

if TYPE_CHECKING:
    from flask_concurrency.jobs.record import JobRecord
    from flask_concurrency.jobs.sqlite_ledger import SqliteLedger

EXPIRED = 1_000_000
FEW_EXPIRED = 2_000
SUBMITS = 1_000
FEW_SUBMITS = 20


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory on the disk that this project is on, gone at the end of the block."""
    with TemporaryDirectory(prefix=".benchmark-", dir=Path.cwd()) as directory:
        yield Path(directory)


@contextmanager
def bare_fdatasync() -> Iterator[Call]:
    """Append a page to a file and wait for the disk."""
    page = b"x" * 4_096
    with scratch() as home, (home / "file").open("wb", buffering=0) as file:

        def write() -> None:
            file.write(page)
            os.fdatasync(file.fileno())

        yield write


@contextmanager
def ours(url: str | None = None) -> Iterator[Call]:
    """``submit`` of a declared job, in an app context."""
    from flask import Flask

    from flask_concurrency import Concurrency

    with scratch() as home:
        app = Flask("shop")
        app.testing = url is not None  # that server may forget
        ledger = url or f"sqlite:///{home}/jobs.sqlite3"
        app.config["CONCURRENCY_JOBS"] = {"ledger": ledger, "max_queued": None}
        concurrency = Concurrency(app)

        @concurrency.job
        def add(one: int, two: int) -> int:
            return one + two

        with app.app_context():
            yield lambda: add.submit(1, 2)
            concurrency.jobs.submit(add, 1, 2)._jobs.ledger.close()


@contextmanager
def ours_on_redis() -> Iterator[Call]:
    """The same on a Redis server."""
    with RedisProcess() as server, ours(server.url) as submit:
        yield submit


@contextmanager
def huey() -> Iterator[Call]:
    """Call a task of huey's SQLite storage, synchronized as ours is."""
    from huey import SqliteHuey

    with scratch() as home:
        made = SqliteHuey(filename=str(home / "huey.sqlite3"), fsync=True)

        @made.task()
        def add(one: int, two: int) -> int:
            return one + two

        yield lambda: add(1, 2)


@contextmanager
def celery() -> Iterator[Call]:
    """``delay`` of a Celery task, on a Redis server."""
    from celery import Celery

    with RedisProcess() as server:
        made = Celery("shop", broker=server.url, backend=server.url)

        @made.task
        def add(one: int, two: int) -> int:
            return one + two

        yield lambda: add.delay(1, 2)


@contextmanager
def a_thousand_jobs() -> Iterator[tuple[SqliteLedger, JobRecord]]:
    """A ledger, and one of its jobs."""
    from flask_concurrency.jobs.record import new_record
    from flask_concurrency.jobs.sqlite_ledger import SqliteLedger

    with scratch() as home:
        ledger = SqliteLedger(home / "jobs.sqlite3", app="shop")
        for _ in range(1_000):
            record, _ = ledger.insert(new_record("add", [1, 2], {}, max_arguments=1_000))
        yield ledger, record
        ledger.close()


@contextmanager
def reading() -> Iterator[Call]:
    """Ask the ledger for a job among a thousand."""
    with a_thousand_jobs() as (ledger, record):

        def get() -> None:
            if ledger.get(record.id) != record:
                raise WrongAnswer("another job")

        yield get


@contextmanager
def asking_sqlite(*, locked_once: bool) -> Iterator[Call]:
    """The same question to SQLite alone.

    :param locked_once: In one transaction, so that no question locks the file.
    """
    from flask_concurrency.jobs.record import COLUMNS

    with a_thousand_jobs() as (ledger, record), ledger._transaction() as (connection, _):
        question = f"SELECT {', '.join(COLUMNS)} FROM jobs WHERE id = ?"
        if not locked_once:
            connection.execute("COMMIT")

        def ask() -> None:
            if connection.execute(question, (record.id,)).fetchall()[0][0] != record.id:
                raise WrongAnswer("another job")

        yield ask
        if not locked_once:
            connection.execute("BEGIN")


@contextmanager
def ledger_with_expired(count: int) -> Iterator[tuple[SqliteLedger, Path]]:
    """A ledger with jobs whose time is over, and its file."""
    from flask_concurrency.jobs.ledger import Capacity
    from flask_concurrency.jobs.record import COLUMNS, new_record, row_of
    from flask_concurrency.jobs.sqlite_ledger import SqliteLedger

    with scratch() as home:
        path = home / "jobs.sqlite3"
        ledger = SqliteLedger(path, app="shop", capacity=Capacity(None, None))
        first, _ = ledger.insert(new_record("add", [1, 2], {}, max_arguments=1_000))
        ledger.cancel(first.id)
        ended = ledger.get(first.id)
        assert ended is not None
        row = dict(zip(COLUMNS, row_of(ended), strict=True)) | {"expires_at": 1.0}
        with ledger._transaction() as (connection, _):
            connection.executemany(
                f"INSERT INTO jobs({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                ((f"{number}", *list(row.values())[1:]) for number in range(count)),
            )
        yield ledger, path
        ledger.close()


def beside_expired(quick: bool) -> list[list[str]]:
    """How long a submit takes beside a million jobs whose time is over, and beside none.

    In turn: how long the disk takes for either changes more than what is compared.
    """
    from flask_concurrency.jobs.record import new_record

    expired, submits = (FEW_EXPIRED, FEW_SUBMITS) if quick else (EXPIRED, SUBMITS)
    rows = [["expired jobs", "submit p50 µs", "p99 µs", "read µs", "file MB"]]
    with ExitStack() as stack:
        found = [stack.enter_context(ledger_with_expired(count)) for count in (0, expired)]
        times: list[tuple[list[float], list[float]]] = [([], []), ([], [])]
        for _ in range(submits):
            for (ledger, _), (kept, read) in zip(found, times, strict=True):
                record = new_record("add", [1, 2], {}, max_arguments=1_000)
                begun_at = time.perf_counter()
                ledger.insert(record)
                kept_at = time.perf_counter()
                ledger.get(record.id)
                kept.append(kept_at - begun_at)
                read.append(time.perf_counter() - kept_at)
        for count, (_, path), (kept, read) in zip((0, expired), found, times, strict=True):
            p50, p99 = statistics.median(kept), statistics.quantiles(kept, n=100)[98]
            told = [f"{seconds * 1e6:.0f}" for seconds in (p50, p99)]
            told.append(f"{statistics.median(read) * 1e6:.1f}")
            rows.append([f"{count:,}", *told, f"{path.stat().st_size / 1e6:.0f}"])
    return rows


BENCHMARKS = (
    Benchmark(
        name="job-submit",
        title="accept a job, so that no crash can lose it",
        subjects=(
            Subject("a bare fdatasync", bare_fdatasync),
            Subject("ours, SQLite", ours),
            Subject("ours, Redis", ours_on_redis),
            Subject("huey, SQLite", huey),
            Subject("Celery, Redis", celery),
        ),
        comparisons=(
            Comparison(
                "SQLite beside a bare fdatasync", "ours, SQLite", "a bare fdatasync", at_most=3.0
            ),
            Comparison("SQLite beside huey", "ours, SQLite", "huey, SQLite"),
            Comparison("Redis beside Celery", "ours, Redis", "Celery, Redis"),
        ),
    ),
    Benchmark(
        name="job-read",
        title="ask for one job of a thousand",
        subjects=(
            Subject("ours, SQLite", reading, at_most=20e-6),
            Subject("of that, SQLite", partial(asking_sqlite, locked_once=False)),
            Subject("of that, without its file locks", partial(asking_sqlite, locked_once=True)),
        ),
    ),
)

TRIALS = (Trial("job-expired", "submit beside a million expired jobs", beside_expired),)
