"""A worker is woken once there is a job to start or to cancel, on each kind of ledger."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from tests.jobs.conftest import Run
from tests.jobs.waiting_worker import WITHIN, submit
from tests.stores.conftest import RedisServer

from flask_concurrency.jobs.fifo_wakes import PREFIX, wake_all
from flask_concurrency.jobs.ledger import Outcome
from flask_concurrency.jobs.sqlite_ledger import SqliteLedger


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the jobs of a test are: in a file, on a server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    server: RedisServer = request.getfixturevalue("server")
    return server.url


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file for the jobs of a test."""
    return f"sqlite:///{tmp_path / 'jobs.sqlite3'}"


def pipes(home: Path) -> list[Path]:
    """The pipes of the workers of a file."""
    return list((home / "jobs.sqlite3-workers").glob(f"{PREFIX}*"))


def test_a_submit_wakes_a_worker(url: str, run: Run) -> None:
    """It starts a job though it would not look by itself; the first one, and those after it."""
    running = run(url)
    for _ in range(2):
        id = submit(url)
        assert running.begun.get(timeout=WITHIN).id == id


def test_a_submit_wakes_all_workers(url: str, run: Run) -> None:
    """A job is started though one of them has no place for it."""
    workers = [run(url), run(url)]
    ids = {submit(url) for _ in range(4)}
    begun = [each.begun.get(timeout=WITHIN).id for each in workers for _ in range(2)]
    assert set(begun) == ids


def test_a_cancellation_wakes_a_worker(url: str, run: Run) -> None:
    """The attempt is ended, though its worker would not look by itself."""
    running = run(url)
    id = submit(url)
    attempt = running.attempts.get(timeout=WITHIN)
    cancelled = threading.Event()
    attempt.add_done_callback(lambda _: cancelled.set())
    running.ledger.cancel(id)
    assert cancelled.wait(WITHIN)


def test_a_retry_wakes_a_worker(url: str, run: Run) -> None:
    """It is asked for by a client, and started at once."""
    running = run(url)
    id = submit(url)
    running.begun.get(timeout=WITHIN)
    running.attempts.get(timeout=WITHIN).set_result(
        Outcome("error", error={"type": "error", "title": "", "detail": ""})
    )
    while (record := running.ledger.get(id)) is None or not record.state.done:
        threading.Event().wait(0.005)  # a thread of the worker's writes it
    running.ledger.retry(id)
    assert running.begun.get(timeout=WITHIN).state.attempt == 2


def test_a_pipe_that_was_removed_costs_no_job(file: str, run: Run, tmp_path: Path) -> None:
    """A wake cannot be sent: the job is kept, and started at the next look; the worker ends."""
    running = run(file, poll=None)
    while not pipes(tmp_path):
        threading.Event().wait(0.005)  # a thread of the worker's makes it
    pipes(tmp_path)[0].unlink()
    id = submit(file)
    assert running.begun.get(timeout=WITHIN).id == id


def test_a_worker_without_a_pipe_looks_and_says_so(
    file: str, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a file system that has none, say."""

    def refuse(*_: object) -> None:
        raise OSError("no pipes here")

    monkeypatch.setattr(os, "mkfifo", refuse)
    running = run(file, poll=None)
    id = submit(file)
    assert running.begun.get(timeout=WITHIN).id == id
    assert [r.message for r in caplog.records if "no pipes here" in r.message] != []


def test_a_worker_that_does_not_read_holds_no_submit_up(tmp_path: Path) -> None:
    """Its pipe is full, as of one that is stopped; and that of a dead one has no reader."""
    full, dead = (tmp_path / f"{PREFIX}{name}" for name in ("full", "dead"))
    for path in (full, dead):
        os.mkfifo(path)
    pipe = os.open(full, os.O_RDWR | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x" * 4_096)
    wake_all(tmp_path)
    os.close(pipe)


def test_a_wake_that_fails_fails_no_submit(file: str, tmp_path: Path) -> None:
    """The job is on the disk by then: an error would tell its client that it is not."""
    wake_all(tmp_path / "none")
    (tmp_path / "jobs.sqlite3-workers").write_text("no directory, or that of another user")
    id = submit(file)
    ledger = SqliteLedger(tmp_path / "jobs.sqlite3", app="shop", volatile=True)
    assert ledger.get(id) is not None
    ledger.close()


def test_pipes_go_with_their_workers(file: str, run: Run, tmp_path: Path) -> None:
    """With the end of one, and with the rescue of what a killed one had."""
    running = run(file)
    submit(file)
    running.begun.get(timeout=WITHIN)
    assert len(pipes(tmp_path)) == 1
    assert running.stop()
    assert pipes(tmp_path) == []
    workers = tmp_path / "jobs.sqlite3-workers"
    (workers / "killed").write_text("{}")
    os.mkfifo(workers / f"{PREFIX}killed")
    ledger = SqliteLedger(tmp_path / "jobs.sqlite3", app="shop", volatile=True)
    ledger.rescue()
    assert pipes(tmp_path) == []
    ledger.close()
