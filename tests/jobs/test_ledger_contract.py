"""What every ledger keeps to: the same table of verbs and what they leave behind."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from tests.jobs.conftest import MakeLedger, worker_info

from flask_concurrency.jobs.ledger import Capacity, Filter, Ledger, Outcome
from flask_concurrency.jobs.record import JobRecord, Progress, new_record
from flask_concurrency.policies.job_state import DAY, JobRules
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.errors import IdempotencyConflict, JobNotJson, TooManyJobs

NAMES = ("report",)
RACES = int(os.environ.get("JOB_RACES", "100"))
"""1,000 for the figures in the documentation."""


def draft(*args: Any, **options: Any) -> JobRecord:
    """A job that is to be submitted."""
    name = options.pop("name", "report")
    return new_record(name, args, {}, max_arguments=65_536, **options)


def submitted(ledger: Ledger, *args: Any, **options: Any) -> JobRecord:
    """A job that was submitted."""
    return ledger.insert(draft(*args, **options))[0]


def started(ledger: Ledger, **options: Any) -> JobRecord:
    """A job that was submitted and that ``w1`` has claimed."""
    submitted(ledger, **options)
    (record,) = ledger.claim("w1", NAMES, 1)
    return record


def test_what_was_submitted_is_there(ledger: Ledger, make_ledger: MakeLedger) -> None:
    """Another process reads what was accepted, to the last value."""
    rules = JobRules(timeout=None, retries=3, rerun=False)
    kept, new = ledger.insert(draft(2026, {"a": [None, 1.5]}, owner="ann", key="k", rules=rules))
    assert new
    assert kept.state.status == "queued"
    assert kept.created_at == kept.state.due_at == 1_000.0
    assert make_ledger().get(kept.id) == kept
    assert kept.call_arguments() == ([2026, {"a": [None, 1.5]}], {})


def test_an_unknown_id_is_no_job(ledger: Ledger) -> None:
    """Nothing is found, changed, cancelled or retried under an id that was never given."""
    assert ledger.get("none") is None
    assert ledger.cancel("none") is None
    assert ledger.retry("none") is None
    assert ledger.end("none", 1, Outcome("succeeded")) is None


def test_a_claimed_job_is_not_claimed_again(ledger: Ledger, make_ledger: MakeLedger) -> None:
    """One worker has it, and the record says which, since when, and which start it is."""
    kept = submitted(ledger)
    (record,) = ledger.claim("w1", NAMES, 5)
    assert (record.id, record.state.status, record.state.attempt) == (kept.id, "running", 1)
    assert record.worker == "w1"
    assert [(a.number, a.worker, a.started_at, a.how) for a in record.attempts] == [
        (1, "w1", 1_000.0, None)
    ]
    other = make_ledger()
    other.join(worker_info("w2"))
    assert other.claim("w2", NAMES, 5) == []
    assert [each.id for each in ledger.claimed_by("w1")] == [kept.id]
    assert ledger.claimed_by("w2") == []


def test_jobs_start_in_the_order_they_were_due(ledger: Ledger, clock: ManualClock) -> None:
    """First due, first claimed; of one instant, first submitted; the names are no classes."""
    late = submitted(ledger, "late", delay=2.0)
    one = submitted(ledger, 1, name="other")
    two = submitted(ledger, 2)
    clock.advance(1.0)
    three = submitted(ledger, 3, name="other")
    names = ("report", "other")
    assert [r.id for r in ledger.claim("w1", names, 2)] == [one.id, two.id]
    assert [r.id for r in ledger.claim("w1", names, 9)] == [three.id]
    clock.advance(0.9)
    assert ledger.claim("w1", names, 9) == []
    clock.advance(0.1)
    assert [r.id for r in ledger.claim("w1", names, 9)] == [late.id]


def test_a_worker_leaves_jobs_it_does_not_know(ledger: Ledger) -> None:
    """A job of a newer program stays queued for a worker that has it."""
    new = submitted(ledger, name="newer")
    assert ledger.claim("w1", NAMES, 5) == []
    assert ledger.claim("w1", (), 5) == []
    assert [r.id for r in ledger.claim("w1", ("newer",), 5)] == [new.id]


def test_a_result_is_kept_until_it_expires(ledger: Ledger, clock: ManualClock) -> None:
    """A job that succeeded is found with its result for a day, and then no more."""
    record = started(ledger)
    ledger.end(record.id, 1, Outcome("succeeded", result="[1,2]", progress=Progress(1.0, "all")))
    ended = ledger.get(record.id)
    assert ended is not None
    assert (ended.state.status, ended.result, ended.worker) == ("succeeded", "[1,2]", None)
    assert ended.progress == Progress(1.0, "all")
    assert ended.attempts[0].how == "succeeded"
    clock.advance(DAY)
    assert ledger.get(record.id) is None
    assert ledger.find(Filter()) == []
    assert ledger.cancel(record.id) is None
    ledger.purge(100)
    assert ledger.purge(100) == 0


def test_an_end_counts_once_and_for_its_attempt_alone(ledger: Ledger) -> None:
    """A worker that was given up cannot end what another one has begun anew."""
    record = started(ledger)
    assert ledger.end(record.id, 1, Outcome("interrupted")) is not None
    (again,) = ledger.claim("w1", NAMES, 1)
    assert (again.state.attempt, again.state.interruptions) == (2, 1)
    assert ledger.end(record.id, 1, Outcome("succeeded", result="1")) is None
    assert not ledger.report_progress(record.id, 1, Progress(0.5))
    assert ledger.end(record.id, 2, Outcome("succeeded", result="2")) is not None
    assert ledger.end(record.id, 2, Outcome("error", error={"title": "late"})) is None
    last = ledger.get(record.id)
    assert last is not None
    assert (last.result, last.error) == ("2", None)
    assert [a.how for a in last.attempts] == ["interrupted", "succeeded"]


def test_a_retry_waits_for_its_time(ledger: Ledger, clock: ManualClock) -> None:
    """An error within the budget queues the job again, later each time; then it fails."""
    record = started(ledger, rules=JobRules(retries=1, backoff=4.0))
    error = {"type": "error", "title": "ValueError", "detail": "no"}
    waiting = ledger.end(record.id, 1, Outcome("error", error=error))
    assert waiting is not None
    assert (waiting.state.status, waiting.state.due_at) == ("queued", 1_004.0)
    assert waiting.error == error
    assert ledger.claim("w1", NAMES, 1) == []
    clock.advance(4.0)
    assert len(ledger.claim("w1", NAMES, 1)) == 1
    failed = ledger.end(record.id, 2, Outcome("error", error=error))
    assert failed is not None
    assert failed.state.status == "failed"
    assert failed.state.expires_at == 1_004.0 + 7 * DAY


def test_cancelling_a_queued_job_ends_it(ledger: Ledger) -> None:
    """It never starts, and to cancel it again changes nothing."""
    kept = submitted(ledger)
    cancelled = ledger.cancel(kept.id)
    assert cancelled is not None
    assert cancelled.state.status == "canceled"
    assert ledger.claim("w1", NAMES, 1) == []
    assert ledger.cancel(kept.id) == cancelled


def test_cancelling_a_running_job_tells_its_worker(ledger: Ledger) -> None:
    """It runs until its worker has ended it; an error it dies of is then no failure."""
    record = started(ledger, rules=JobRules(retries=3))
    asked = ledger.cancel(record.id)
    assert asked is not None
    assert (asked.state.status, asked.state.cancel_requested) == ("running", True)
    assert [r.state.cancel_requested for r in ledger.claimed_by("w1")] == [True]
    assert not ledger.report_progress(record.id, 1, Progress(0.1))
    ended = ledger.end(record.id, 1, Outcome("interrupted", error={"title": "killed"}))
    assert ended is not None
    assert (ended.state.status, ended.error) == ("canceled", None)


def test_a_cancelled_job_did_not_run_and_one_that_ran_was_not_cancelled(
    make_ledger: MakeLedger,
) -> None:
    """11: claim and cancellation race, and one of them wins."""
    claiming, cancelling = make_ledger(), make_ledger()
    claiming.join(worker_info("w1"))
    won = {"claim": 0, "cancel": 0}
    for _ in range(RACES):
        id = submitted(claiming).id
        barrier = threading.Barrier(2)
        claimed: list[bool] = []

        def claim(barrier: threading.Barrier = barrier, claimed: list[bool] = claimed) -> None:
            barrier.wait()
            claimed.append(bool(claiming.claim("w1", ["report"], 1)))

        thread = threading.Thread(target=claim)
        thread.start()
        barrier.wait()
        asked = cancelling.cancel(id)
        thread.join()
        assert asked is not None
        if asked.state.status == "canceled":
            won["cancel"] += 1
            assert claimed == [False]
        else:
            won["claim"] += 1
            assert claimed == [True]
            assert asked.state.cancel_requested
            claiming.end(id, 1, Outcome("canceled"))
    assert sum(won.values()) == RACES


def test_progress_is_what_was_said_last(ledger: Ledger) -> None:
    """It stands in the record, and each of its values has a version of its own."""
    record = started(ledger)
    assert ledger.report_progress(record.id, 1, Progress(0.25, "a"))
    assert ledger.report_progress(record.id, 1, Progress(0.5, "b"))
    now = ledger.get(record.id)
    assert now is not None
    assert now.progress == Progress(0.5, "b")
    assert now.version == record.version + 2


def test_a_failed_job_can_be_asked_for_again(ledger: Ledger) -> None:
    """It starts with fresh budgets; one that succeeded or runs is left alone."""
    record = started(ledger)
    assert ledger.retry(record.id) is None
    ledger.end(record.id, 1, Outcome("refused", error={"title": "no"}))
    again = ledger.retry(record.id)
    assert again is not None
    assert (again.state.status, again.error) == ("queued", None)
    (begun,) = ledger.claim("w1", NAMES, 1)
    assert begun.state.attempt == 2
    ledger.end(record.id, 2, Outcome("succeeded", result="1"))
    assert ledger.retry(record.id) is None


def test_the_same_key_is_the_same_job(ledger: Ledger, make_ledger: MakeLedger) -> None:
    """Repeated with the same arguments it is found, also after its end; with others refused."""
    first, new = ledger.insert(draft(1, key="k", owner="ann"))
    assert new
    ledger.claim("w1", NAMES, 1)
    ledger.end(first.id, 1, Outcome("succeeded", result="1"))
    found, new = make_ledger().insert(draft(1, key="k", owner="ann"))
    assert (found.id, found.state.status, new) == (first.id, "succeeded", False)
    with pytest.raises(IdempotencyConflict, match="was used for other arguments"):
        ledger.insert(draft(2, key="k", owner="ann"))


def test_a_key_counts_for_its_owner_and_job(ledger: Ledger) -> None:
    """The key of another owner or another job is another key."""
    ids = {
        submitted(ledger, 1, key="k", owner="ann").id,
        submitted(ledger, 2, key="k", owner="ben").id,
        submitted(ledger, 3, key="k", owner="ann", name="other").id,
    }
    assert len(ids) == 3


def test_a_key_lives_as_long_as_its_job(ledger: Ledger, clock: ManualClock) -> None:
    """Once the record has expired, purged or not, the key is free."""
    first = started(ledger, key="k")
    ledger.end(first.id, 1, Outcome("succeeded", result="1"))
    clock.advance(DAY + 1)
    second, new = ledger.insert(draft(2, key="k"))
    assert new
    assert second.id != first.id


def test_racing_submits_with_one_key_make_one_job(make_ledger: MakeLedger) -> None:
    """Sixteen at once, each as a process of its own: one job, and all get the same id."""
    ledgers = [make_ledger() for _ in range(16)]
    barrier, ids, new = threading.Barrier(16), set(), []

    def submit(ledger: Ledger) -> None:
        barrier.wait()
        record, made = ledger.insert(draft(1, key="same"))
        ids.add(record.id)
        new.append(made)

    threads = [threading.Thread(target=submit, args=(each,)) for each in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 1
    assert sorted(new) == [False] * 15 + [True]


def test_as_many_are_queued_as_may_be(make_ledger: MakeLedger) -> None:
    """One more is refused, of one owner and of all; one that starts or is cancelled makes room."""
    ledger = make_ledger(Capacity(max_queued=4, max_queued_per_owner=2))
    ledger.join(worker_info("w1"))
    submitted(ledger, owner="ann")
    second = submitted(ledger, owner="ann")
    with pytest.raises(TooManyJobs, match="2 of 2 jobs of one owner") as refused:
        submitted(ledger, owner="ann")
    assert refused.value.of_owner
    submitted(ledger)
    submitted(ledger)
    with pytest.raises(TooManyJobs, match="4 of 4 jobs of all owners") as refused:
        submitted(ledger)
    assert not refused.value.of_owner
    ledger.cancel(second.id)
    submitted(ledger, owner="ann")
    (begun,) = ledger.claim("w1", NAMES, 1)
    submitted(ledger, owner="ann")
    assert ledger.counts().queued == 4
    ledger.end(begun.id, 1, Outcome("interrupted"))  # the way back is never barred
    assert ledger.counts().queued == 5
    with pytest.raises(TooManyJobs):
        submitted(ledger)


def test_a_key_that_is_known_is_answered_when_all_is_full(make_ledger: MakeLedger) -> None:
    """To repeat a request needs no room."""
    ledger = make_ledger(Capacity(max_queued=1))
    first = submitted(ledger, key="k")
    assert ledger.insert(draft(key="k"))[0].id == first.id


def test_listing(ledger: Ledger, clock: ManualClock) -> None:
    """Newest first, of one owner, of one state, page by page."""
    ids = []
    for number in range(5):
        clock.advance(1.0)
        ids.append(submitted(ledger, number, owner="ann" if number % 2 else "ben").id)
    newest = ids[::-1]
    assert [r.id for r in ledger.find(Filter())] == newest
    assert [r.id for r in ledger.find(Filter(owner="ann"))] == [ids[3], ids[1]]
    assert [r.id for r in ledger.find(Filter(limit=2))] == newest[:2]
    assert [r.id for r in ledger.find(Filter(limit=2, after=newest[1]))] == newest[2:4]
    ledger.cancel(ids[2])
    assert [r.id for r in ledger.find(Filter(status="canceled"))] == [ids[2]]
    assert ledger.find(Filter(after="none")) == []


def test_counts(ledger: Ledger, clock: ManualClock) -> None:
    """How many are queued and running, and how long one has waited that could have started."""
    assert (ledger.counts().queued, ledger.counts().longest_wait) == (0, None)
    submitted(ledger)
    clock.advance(1.0)
    submitted(ledger)
    submitted(ledger, delay=50.0)
    counts = ledger.counts()
    assert (counts.queued, counts.running, counts.longest_wait) == (3, 0, 1.0)
    ledger.claim("w1", NAMES, 1)
    counts = ledger.counts()
    assert (counts.queued, counts.running, counts.longest_wait) == (2, 1, 0.0)


def test_a_change_elsewhere_is_seen(ledger: Ledger, make_ledger: MakeLedger) -> None:
    """Who watches for changes sees that another process has written, and else that none has."""
    watching = make_ledger()
    before = watching.changes()
    assert watching.changes() == before
    submitted(ledger)
    assert watching.changes() != before


def test_workers_are_known_while_they_live(ledger: Ledger, make_ledger: MakeLedger) -> None:
    """A worker that has joined is listed for every reader, one that has left is not."""
    other = make_ledger()
    other.join(worker_info("w2", "mail"))
    assert [(w.id, w.names) for w in ledger.workers()] == [("w1", ("report",)), ("w2", ("mail",))]
    other.leave("w2")
    assert [w.id for w in ledger.workers()] == ["w1"]


def test_living_workers_keep_their_jobs(ledger: Ledger, make_ledger: MakeLedger) -> None:
    """No job is taken from a worker that lives, whichever worker asks."""
    record = started(ledger)
    assert ledger.rescue() == []
    assert make_ledger().rescue() == []
    found = ledger.get(record.id)
    assert found is not None
    assert found.state.status == "running"


def test_a_worker_that_has_left_gives_its_jobs_up(ledger: Ledger, make_ledger: MakeLedger) -> None:
    """What a worker had claimed is queued again, and the record shows the interruption."""
    record = started(ledger)
    ledger.leave("w1")
    other = make_ledger()
    (rescued,) = other.rescue()
    assert (rescued.id, rescued.state.status) == (record.id, "queued")
    assert rescued.state.interruptions == 1
    assert rescued.attempts[0].how == "interrupted"
    assert other.rescue() == []


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (object(), "not JSON serializable"),
        (float("nan"), "Out of range float"),
        ({1: "a", "b": 2}, "not supported between"),
        ("x" * 70_000, "70,00. bytes as JSON; 65,536 are allowed"),
    ],
)
def test_arguments_that_are_not_json_are_refused(value: object, told: str) -> None:
    """Nothing is accepted that could not be read back, and the message says what to do."""
    with pytest.raises(JobNotJson, match=told):
        draft(value)


def test_an_id_is_no_option_of_a_command() -> None:
    """Ids are long, unlike each other, and never begin with a dash."""
    ids = {draft().id for _ in range(300)}
    assert len(ids) == 300
    assert all(len(each) == 32 and each[0] != "-" for each in ids)
