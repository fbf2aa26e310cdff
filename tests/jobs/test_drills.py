"""Drills: real workers, killed, stopped and told to end, on every kind of ledger.

Each has its number of the list in ``docs/explanation/kept.md``.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from tests.jobs.drill import Drill, runs

from flask_concurrency.policies.job_state import JobRules

pytestmark = pytest.mark.slow


def test_a_job_runs_and_its_result_is_kept(calm: Drill) -> None:
    """Submitted here, run there, read here."""
    id = calm.submit("quick", {"rows": [1, 2]})
    record = calm.ended(id)
    assert record.state.status == "succeeded"
    assert record.result == '{"value":{"rows":[1,2]}}'
    assert calm.ended(calm.submit("asynchronous")).result == '{"value":"awaited"}'


def test_a_killed_submitter_loses_nothing_it_was_told(drill: Drill) -> None:
    """1: SIGKILL directly after ``submit`` returned: every id that was given is there."""
    accepted = []
    for _ in range(5):
        submitter = drill.program("drill_submitter.py", [drill.url, drill.app, "quick", 10_000, []])
        assert submitter.stdout is not None
        accepted += [submitter.stdout.readline().strip() for _ in range(20)]
        submitter.kill()
        accepted += submitter.stdout.read().split()
    assert len(set(accepted)) >= 100
    for id in accepted:
        assert drill.get(id).state.status == "queued"


def test_a_killed_task_process_costs_its_job_one_attempt(drill: Drill) -> None:
    """3: it runs again at once; a neighbour of the same worker is not touched."""
    drill.worker(2)
    neighbour = drill.submit("hold", str(drill.home / "gate"))
    drill.started(neighbour)
    for _ in range(3):
        id = drill.submit("first_time_hold", str(drill.home / "never"))
        process = drill.started(id).process
        signal_sent = time.monotonic()
        os.kill(process, signal.SIGKILL)
        drill.started(id, attempt=2)
        assert time.monotonic() - signal_sent < 10
        record = drill.ended(id)
        assert record.state.status == "succeeded"
        assert [a.how for a in record.attempts] == ["interrupted", "succeeded"]
    (drill.home / "gate").touch()
    assert drill.ended(neighbour).state.attempt == 1
    drill.assert_nothing_ran_in_silence()


@pytest.mark.parametrize("another", [True, False], ids=["another-alive", "restarted"])
def test_a_killed_worker_loses_no_job(drill: Drill, another: bool) -> None:
    """4: its job starts again on another worker, or on the one that replaces it."""
    first = drill.worker()
    id = drill.submit("first_time_hold", str(drill.home / "never"))
    process = drill.started(id).process
    if another:
        drill.worker()
    first.kill()
    drill.gone([process])
    if not another:
        drill.worker()
    record = drill.ended(id)
    assert record.state.status == "succeeded"
    assert [a.how for a in record.attempts] == ["interrupted", "succeeded"]
    drill.assert_nothing_ran_in_silence()


def test_a_stopped_worker(drill: Drill) -> None:
    """6: one machine's kernel knows that it lives, and its job ends there.

    On several machines the lease ends and another one starts the job; what the first one then says
    of it does not count.
    """
    first = drill.worker()
    id = drill.submit("hold", str(drill.home / "gate"))
    drill.started(id)
    first.send_signal(signal.SIGSTOP)
    drill.worker()
    leases = drill.url.startswith("unix:")
    if leases:
        drill.started(id, attempt=2)
    (drill.home / "gate").touch()
    drill.until(lambda: any(s.event == "end" and s.attempt == 1 for s in drill.said(id)) or None)
    for _ in range(3):  # three rounds of jobs that the other one runs meanwhile
        drill.ended(drill.submit("work", 300))
    assert drill.get(id).state.status == ("succeeded" if leases else "running")
    first.send_signal(signal.SIGCONT)
    record = drill.ended(id)
    assert (record.state.status, record.state.attempt) == ("succeeded", 2 if leases else 1)
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0
    assert drill.get(id) == record


def test_poison_is_bounded(calm: Drill) -> None:
    """7: a job that kills its process starts 1 + interruptions times; its worker lives on."""
    id = calm.submit("poison", rules=JobRules(interruptions=2))
    record = calm.ended(id)
    assert record.state.status == "failed"
    assert record.error is not None
    assert record.error["type"] == "interrupted"
    assert calm.starts(id) == 3
    assert calm.ended(calm.submit("quick")).state.status == "succeeded"


def test_what_must_not_run_twice_fails_visibly(calm: Drill) -> None:
    """``rerun=False``: one start, and an error that says why."""
    id = calm.submit("leave", rules=JobRules(rerun=False))
    record = calm.ended(id)
    assert (record.state.status, calm.starts(id)) == ("failed", 1)
    assert record.error is not None
    assert record.error["type"] == "interrupted"
    assert "exit code 3" in record.error["detail"]


def test_a_job_that_takes_all_memory_ends_alone(drill: Drill) -> None:
    """With ``max_memory`` it fails and says why; a neighbour and the worker go on."""
    drill.worker(2, max_memory="256MiB")
    neighbour = drill.submit("hold", str(drill.home / "gate"))
    drill.started(neighbour)
    record = drill.ended(drill.submit("grow"))
    assert record.state.status == "failed"
    assert record.error is not None
    assert "emory" in record.error["title"]
    (drill.home / "gate").touch()
    assert drill.ended(neighbour).state.attempt == 1
    assert drill.ended(drill.submit("quick")).state.status == "succeeded"


@pytest.mark.parametrize("name", ["sleep_on", "spin", "family"])
def test_cancelling_ends_a_job_and_all_it_started(calm: Drill, name: str) -> None:
    """12: gone with its children, whether it sleeps, computes in C or waits for a program."""
    id = calm.submit(name)
    calm.started(id)
    processes = [each.process for each in calm.said(id)]
    if name == "family":
        calm.until(lambda: len(calm.said(id)) == 3 or None)
        processes = [each.process for each in calm.said(id)]
    calm.ledger.cancel(id)
    assert calm.ended(id).state.status == "canceled"
    assert not any(map(runs, processes))
    assert calm.ended(calm.submit("quick")).state.status == "succeeded"


def test_a_killed_worker_leaves_no_grandchildren(drill: Drill) -> None:
    """What a job of a killed worker had started is gone before the job starts again."""
    first = drill.worker()
    id = drill.submit("family", rules=JobRules(interruptions=0))
    drill.started(id)
    drill.until(lambda: len(drill.said()) == 3 or None)
    processes = [each.process for each in drill.said()]
    first.kill()
    drill.worker()
    assert drill.ended(id).state.status == "failed"
    assert not any(map(runs, processes))


def test_progress_is_written_five_times_a_second_at_most(calm: Drill) -> None:
    """14: however often a job reports; what it said last is there at its end."""
    record = calm.ended(calm.submit("told", 10_000))
    (attempt,) = record.attempts
    assert attempt.ended_at is not None
    assert record.progress is not None
    assert record.progress.message == "step 9999"
    written = record.version - 3  # submitted, started, ended
    assert written <= 5 * (attempt.ended_at - attempt.started_at) + 1


def test_a_worker_leaves_what_it_does_not_know(drill: Drill) -> None:
    """17: during a rolling deploy a new job waits for a worker that has it."""
    drill.worker(names=["quick"])
    new, old = drill.submit("work", 1), drill.submit("quick")
    drill.ended(old)
    assert drill.get(new).state.status == "queued"
    drill.worker()
    assert drill.ended(new).state.attempt == 1


def test_a_worker_that_is_told_to_end_gives_back_what_is_long(drill: Drill) -> None:
    """18: what is short is done, what is long is queued at once and has spent no budget."""
    first = drill.worker(2, drain_timeout=1.0)
    long = drill.submit("first_time_hold", str(drill.home / "never"))
    short = drill.submit("hold", str(drill.home / "gate"))
    process = drill.started(long).process
    drill.started(short)
    first.send_signal(signal.SIGTERM)
    (drill.home / "gate").touch()
    assert first.wait(20) == 0
    assert not runs(process)
    assert drill.get(short).state.status == "succeeded"
    given_back = drill.get(long)
    assert given_back.state.status == "queued"
    assert (given_back.state.interruptions, given_back.state.errors) == (0, 0)
    assert given_back.attempts[0].how == "returned"
    drill.worker()
    assert drill.ended(long).state.attempt == 2


def test_everything_killed_at_once(drill: Drill) -> None:
    """19: as after a reboot, whatever is started first."""
    workers = [drill.worker() for _ in range(2)]
    ids = [drill.submit("first_time_hold", str(drill.home / "never")) for _ in range(2)]
    ids += [drill.submit("quick") for _ in range(5)]
    for id in ids[:2]:
        drill.started(id)
    for worker in workers:
        worker.kill()
    drill.ledger.close()
    drill.worker()
    for id in ids:
        assert drill.ended(id).state.status == "succeeded"
    drill.assert_nothing_ran_in_silence()


@pytest.mark.parametrize(
    ("name", "args", "rules", "type", "told"),
    [
        ("fail", (), JobRules(), "error", "as told"),
        ("leave_by_exit", (), JobRules(), "error", "no"),
        ("unkept", (), JobRules(retries=3), "result-not-kept", "cannot be written as JSON"),
        ("large", (70_000,), JobRules(), "result-not-kept", "65,536 are allowed"),
        ("sleep_on", (), JobRules(timeout=0.5), "timeout", "longer than its timeout of 0.5 s"),
        ("quick", (1, 2, 3), JobRules(), "error", "takes from 0 to 1 positional arguments"),
    ],
)
def test_what_goes_wrong_is_told(
    calm: Drill, name: str, args: tuple[object, ...], rules: JobRules, type: str, told: str
) -> None:
    """A job fails with what its function did, and the worker goes on."""
    id = calm.submit(name, *args, rules=rules)
    record = calm.ended(id)
    assert record.state.status == "failed"
    assert record.error is not None
    assert record.error["type"] == type
    assert told in record.error["detail"]
    assert record.state.attempt == 1
    assert calm.ended(calm.submit("quick")).state.status == "succeeded"


def test_errors_are_retried(calm: Drill) -> None:
    """With a budget for errors the function is called again, later each time."""
    id = calm.submit("fail", rules=JobRules(retries=2, backoff=0.05))
    record = calm.ended(id)
    assert (record.state.status, calm.starts(id)) == ("failed", 3)
    gaps = [
        after.started_at - before.started_at
        for before, after in zip(record.attempts, record.attempts[1:], strict=False)
    ]
    assert gaps[0] >= 0.0375
    assert gaps[1] >= 0.075


def test_a_result_may_be_a_file(calm: Drill, tmp_path: Path) -> None:
    """It is moved to where results are kept."""
    if calm.ledger.files is None:
        pytest.skip("this ledger keeps no files")
    id = calm.submit("to_file", str(tmp_path))
    record = calm.ended(id)
    assert record.result is not None
    assert '"name": "report.csv"' in record.result
    assert (calm.ledger.files / f"{id}.1").read_text() == "a,b\n"
    assert not (tmp_path / "written.csv").exists()


def test_a_burst_ends_when_nothing_is_left(drill: Drill) -> None:
    """``--burst``: all that is due is done, and the worker ends by itself."""
    ids = [drill.submit("quick", number) for number in range(10)]
    later = drill.submit("quick", delay=1_000.0)
    worker = drill.worker(2, burst=True)
    assert worker.wait(30) == 0
    assert all(drill.get(id).state.status == "succeeded" for id in ids)
    assert drill.get(later).state.status == "queued"
