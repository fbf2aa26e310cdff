"""What becomes of a job, as arithmetic: tables of events and the states they lead to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_concurrency.policies.job_state import (
    ENDED,
    Ending,
    JobRules,
    JobState,
    attempt_ended,
    cancelled,
    claimed,
    queued_again,
    retry_delay,
)

RULES = JobRules(retries=1, interruptions=2, keep=100.0, keep_failed=700.0)
RUNNING = JobState(status="running", attempt=1, started_at=5.0)

ENDINGS = [  # how, rules, state before -> status, errors, interruptions, expires_at
    ("succeeded", RULES, RUNNING, "succeeded", 0, 0, 110.0),
    ("error", RULES, RUNNING, "queued", 1, 0, None),
    ("error", RULES, RUNNING._replace(errors=1), "failed", 1, 0, 710.0),
    ("timeout", RULES, RUNNING, "queued", 1, 0, None),
    ("refused", RULES, RUNNING, "failed", 0, 0, 710.0),
    ("interrupted", RULES, RUNNING, "queued", 0, 1, None),
    ("interrupted", RULES, RUNNING._replace(interruptions=2), "failed", 0, 2, 710.0),
    ("interrupted", replace(RULES, rerun=False), RUNNING, "failed", 0, 0, 710.0),
    ("returned", RULES, RUNNING._replace(errors=1, interruptions=2), "queued", 1, 2, None),
    ("returned", replace(RULES, rerun=False), RUNNING, "failed", 0, 0, 710.0),
    ("unstarted", replace(RULES, rerun=False), RUNNING, "queued", 0, 0, None),
    ("canceled", RULES, RUNNING, "canceled", 0, 0, 110.0),
    ("error", RULES, RUNNING._replace(cancel_requested=True), "canceled", 0, 0, 110.0),
    ("interrupted", RULES, RUNNING._replace(cancel_requested=True), "canceled", 0, 0, 110.0),
    ("returned", RULES, RUNNING._replace(cancel_requested=True), "canceled", 0, 0, 110.0),
    ("succeeded", RULES, RUNNING._replace(cancel_requested=True), "succeeded", 0, 0, 110.0),
]


@pytest.mark.parametrize(
    ("how", "rules", "before", "status", "errors", "interruptions", "expires_at"), ENDINGS
)
def test_the_end_of_an_attempt(
    how: Ending,
    rules: JobRules,
    before: JobState,
    status: str,
    errors: int,
    interruptions: int,
    expires_at: float | None,
) -> None:
    """How an attempt ended, and what is left of its budget, decide where the job goes."""
    after = attempt_ended(before, rules, how, attempt=1, now=10.0, draw=0.5)
    assert after is not None
    assert (after.status, after.errors, after.interruptions) == (status, errors, interruptions)
    assert after.expires_at == expires_at
    assert after.attempt == 1
    assert not after.cancel_requested


@pytest.mark.parametrize("how", ["succeeded", "error", "interrupted", "returned", "canceled"])
def test_only_the_running_attempt_can_end(how: Ending) -> None:
    """What a worker says of an attempt that was given to another one changes nothing."""
    second = RUNNING._replace(attempt=2)
    assert attempt_ended(second, RULES, how, attempt=1, now=10.0, draw=0.5) is None
    for status in (*ENDED, "queued"):
        ended = RUNNING._replace(status=status)  # type: ignore[arg-type]
        assert attempt_ended(ended, RULES, how, attempt=1, now=10.0, draw=0.5) is None


def test_a_claim_counts_the_attempt_at_once() -> None:
    """A job that kills its worker has spent its start before it did."""
    after = claimed(JobState(due_at=3.0), 3.0)
    assert after == JobState(status="running", due_at=3.0, attempt=1, started_at=3.0)


@pytest.mark.parametrize("status", ["running", *sorted(ENDED)])
def test_only_what_is_queued_and_due_can_be_claimed(status: str) -> None:
    """A job is claimed once, and not before its time."""
    assert claimed(JobState()._replace(status=status), 3.0) is None  # type: ignore[arg-type]
    assert claimed(JobState(due_at=3.5), 3.0) is None


def test_cancelling() -> None:
    """A queued job is cancelled at once, a running one when its worker has ended it, once."""
    at_once = cancelled(JobState(), RULES, 10.0)
    assert at_once is not None
    assert (at_once.status, at_once.ended_at, at_once.expires_at) == ("canceled", 10.0, 110.0)
    asked = cancelled(RUNNING, RULES, 10.0)
    assert asked == RUNNING._replace(cancel_requested=True)
    assert cancelled(asked, RULES, 11.0) is None
    assert cancelled(at_once, RULES, 11.0) is None


def test_retrying_by_hand() -> None:
    """A job that failed starts again with fresh budgets, and its attempts go on being counted."""
    failed = JobState(status="failed", attempt=3, errors=1, interruptions=2, expires_at=9.0)
    assert queued_again(failed, 20.0) == JobState(due_at=20.0, attempt=3)
    assert queued_again(RUNNING, 20.0) is None
    assert queued_again(RUNNING._replace(status="succeeded"), 20.0) is None


def test_retries_wait_longer_each_time() -> None:
    """Waits double, are spread by a quarter, and end at their bound."""
    rules = JobRules(backoff=2.0, max_backoff=10.0)
    assert [retry_delay(rules, n, 0.5) for n in (1, 2, 3, 4, 5_000)] == [2.0, 4.0, 8.0, 10.0, 10.0]
    assert retry_delay(rules, 1, 0.0) == 1.5
    assert retry_delay(rules, 1, 1.0) == 2.5


@given(
    ends=st.lists(st.sampled_from(["error", "interrupted", "timeout"]), min_size=20, max_size=20),
    retries=st.integers(0, 4),
    interruptions=st.integers(0, 4),
)
def test_starts_are_bounded_by_both_budgets(
    ends: list[Ending], retries: int, interruptions: int
) -> None:
    """No order of errors and dead workers gives a job more starts than its budgets allow."""
    rules = JobRules(retries=retries, interruptions=interruptions, backoff=0.0)
    state, starts = JobState(), 0
    for how in ends:
        begun = claimed(state, 10.0)
        if begun is None:
            break
        starts += 1
        after = attempt_ended(begun, rules, how, attempt=begun.attempt, now=10.0, draw=0.0)
        assert after is not None
        state = after
    assert state.status == "failed"
    assert starts <= 1 + retries + interruptions


def test_a_poison_job_starts_exactly_so_often() -> None:
    """One start, and one more for each interruption it may have."""
    state, starts = JobState(), 0
    while (begun := claimed(state, 1.0)) is not None:
        starts += 1
        after = attempt_ended(begun, RULES, "interrupted", attempt=starts, now=1.0, draw=0.0)
        assert after is not None
        state = after
    assert starts == 1 + RULES.interruptions
