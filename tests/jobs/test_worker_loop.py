"""What the worker's loop does with attempts that end, are cancelled, or cannot be written down."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest
from tests.jobs.conftest import MakeLedger

from flask_concurrency.jobs import worker as worker_module
from flask_concurrency.jobs.ledger import Ledger, Outcome
from flask_concurrency.jobs.record import JobRecord, new_record
from flask_concurrency.jobs.worker import Worker
from flask_concurrency.policies.job_state import DAY, JobRules
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.errors import (
    JobsUnavailable,
    WorkerDied,
    WorkerOutOfMemory,
    WorkerStartFailed,
)

DONE = Outcome("succeeded", result='{"value":1}')


class Attempt(Future[Outcome]):
    """An attempt that runs until the test says how it ends, or it is cancelled."""

    def running(self) -> bool:
        """It runs from the start, and can be cancelled nevertheless, as those of processes."""
        return not self.done()


class Attempts:
    """Begins attempts, and keeps them by the ids of their jobs."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.running: dict[str, Attempt] = {}

    def __call__(self, record: JobRecord, worker: str) -> Future[Outcome]:
        attempt = self.running[record.id] = Attempt()
        self.begun.append(record.id)
        return attempt


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()


@pytest.fixture
def worker(ledger: Ledger, attempts: Attempts, clock: ManualClock) -> Worker:
    """A worker for two jobs at once, which has joined."""
    made = Worker(ledger, attempts, ["report"], processes=2, drain_timeout=10.0, clock=clock)
    made._join()
    return made


def submit(ledger: Ledger, **options: object) -> str:
    """Submit a job; its id."""
    record = new_record("report", [], {}, max_arguments=1_000, **options)  # type: ignore[arg-type]
    return ledger.insert(record)[0].id


def status(ledger: Ledger, id: str) -> str:
    """Where a job stands."""
    record = ledger.get(id)
    assert record is not None
    return record.state.status


@contextmanager
def out_of_order(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no change be written."""

    def fail(*_: object) -> None:
        raise JobsUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "change", fail)
        yield


def test_as_many_run_as_there_are_processes(
    ledger: Ledger, worker: Worker, attempts: Attempts
) -> None:
    """The third job starts when one of two has ended."""
    ids = [submit(ledger) for _ in range(3)]
    worker.step()
    assert attempts.begun == ids[:2]
    attempts.running[ids[0]].set_result(DONE)
    worker.step()
    assert attempts.begun == ids
    assert [status(ledger, id) for id in ids] == ["succeeded", "running", "running"]


def test_a_result_that_cannot_be_written_is_kept(
    ledger: Ledger,
    worker: Worker,
    attempts: Attempts,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While the disk is full the worker lives, says so once, and writes the result later."""
    id = submit(ledger)
    worker.step()
    attempts.running[id].set_result(DONE)
    with out_of_order(ledger, monkeypatch):
        for _ in range(3):
            worker.step()
    assert [r.message for r in caplog.records if "goes on trying" in r.message] != []
    assert sum("goes on trying" in r.message for r in caplog.records) == 1
    assert status(ledger, id) == "running"
    worker.step()
    assert status(ledger, id) == "succeeded"
    assert attempts.begun == [id]


def test_a_cancelled_job_is_ended(ledger: Ledger, worker: Worker, attempts: Attempts) -> None:
    """Its attempt is cancelled, and only then the record says that it is."""
    id = submit(ledger)
    worker.step()
    ledger.cancel(id)
    worker.step()
    assert attempts.running[id].cancelled()
    worker.step()
    assert status(ledger, id) == "canceled"


def test_an_attempt_that_another_worker_has_is_ended(
    ledger: Ledger, worker: Worker, attempts: Attempts, make_ledger: MakeLedger
) -> None:
    """A worker that was given up by mistake releases its job, and its end does not count."""
    id = submit(ledger)
    worker.step()
    other = make_ledger()
    other.end(id, 1, Outcome("interrupted"))
    (again,) = other.claim("w1", ["report"], 1)
    worker.step()
    assert attempts.running[id].cancelled()
    worker.step()
    record = ledger.get(id)
    assert record is not None
    assert (record.state.status, record.worker, record.state.attempt) == ("running", "w1", 2)
    assert again.id == id


def test_a_claim_that_was_not_begun_is_given_up(
    ledger: Ledger, worker: Worker, attempts: Attempts, clock: ManualClock
) -> None:
    """An error between the claim and the start leaves no job marked as running."""
    id = submit(ledger)
    (lost,) = ledger.claim(worker.id, ["report"], 1)
    assert lost.id == id
    clock.advance(1.0)
    worker.step()
    assert attempts.begun == [id]
    record = ledger.get(id)
    assert record is not None
    assert [a.how for a in record.attempts] == ["interrupted", None]


@pytest.mark.parametrize(
    ("error", "type", "how"),
    [
        (WorkerDied("it crashed", exitcode=-9), "interrupted", "interrupted"),
        (WorkerOutOfMemory("too much"), "out-of-memory", "error"),
        (RuntimeError("of ours"), "error", "error"),
    ],
)
def test_how_attempts_end(
    ledger: Ledger, worker: Worker, attempts: Attempts, error: Exception, type: str, how: str
) -> None:
    """What the executor says of a task becomes the end of the attempt."""
    id = submit(ledger, rules=JobRules(interruptions=0))
    worker.step()
    attempts.running[id].set_exception(error)
    worker.step()
    record = ledger.get(id)
    assert record is not None
    assert record.error is not None
    assert (record.state.status, record.error["type"]) == ("failed", type)
    assert record.attempts[0].how == how


def test_where_no_process_comes_up_nothing_is_spent(
    ledger: Ledger, worker: Worker, attempts: Attempts, clock: ManualClock
) -> None:
    """The job is queued again, and the worker waits before it claims anything, ever longer."""
    id = submit(ledger, rules=JobRules(interruptions=0, rerun=False))
    for wait in (1.0, 2.0, 4.0):
        begun = len(attempts.begun)
        worker.step()
        assert len(attempts.begun) == begun + 1
        attempts.running[id].set_exception(WorkerStartFailed("no memory"))
        worker.step()
        assert status(ledger, id) == "queued"
        clock.advance(wait - 0.1)
        worker.step()
        assert len(attempts.begun) == begun + 1
        clock.advance(0.1)


def test_time_runs_from_when_a_process_has_it(
    ledger: Ledger, worker: Worker, attempts: Attempts, clock: ManualClock
) -> None:
    """What takes longer than it may is ended, and the error names the number."""
    id = submit(ledger, rules=JobRules(timeout=5.0))
    worker.step()
    worker.step()
    clock.advance(4.9)
    worker.step()
    assert not attempts.running[id].cancelled()
    clock.advance(0.1)
    worker.step()
    assert attempts.running[id].cancelled()
    worker.step()
    record = ledger.get(id)
    assert record is not None
    assert record.error is not None
    assert (record.state.status, record.error["type"]) == ("failed", "timeout")
    assert "timeout of 5 s" in record.error["detail"]


def test_told_to_stop_it_claims_no_more(
    ledger: Ledger, worker: Worker, attempts: Attempts, clock: ManualClock
) -> None:
    """What runs may end; what has not after its time is given back, without a budget spent."""
    short, long = submit(ledger), submit(ledger)
    worker.step()
    worker.stop()
    waiting = submit(ledger)
    assert not worker.step()
    attempts.running[short].set_result(DONE)
    clock.advance(9.9)
    assert not worker.step()
    clock.advance(0.1)
    assert not worker.step()
    assert worker.step()
    assert [status(ledger, id) for id in (short, long, waiting)] == [
        "succeeded",
        "queued",
        "queued",
    ]
    record = ledger.get(long)
    assert record is not None
    assert (record.state.interruptions, record.attempts[0].how) == (0, "returned")
    assert waiting not in attempts.begun


def test_expired_jobs_are_removed_some_at_a_time(
    ledger: Ledger, worker: Worker, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many in one transaction, and the rest soon after, so that others may write between."""
    monkeypatch.setattr(worker_module, "PURGED_AT_ONCE", 5)
    for _ in range(12):
        ledger.cancel(submit(ledger))
    worker.step()
    clock.advance(DAY)
    for _ in range(2):
        worker.step()
        clock.advance(0.1)
    assert ledger.purge(1_000) == 2


def test_a_burst_ends_with_the_last_job(ledger: Ledger, worker: Worker, attempts: Attempts) -> None:
    """It ends once nothing is due and nothing runs."""
    id = submit(ledger)
    submit(ledger, delay=100.0)
    assert not worker.step(burst=True)
    assert not worker.step(burst=True)
    attempts.running[id].set_result(DONE)
    assert worker.step(burst=True)
