"""Decide what state a job is in after something happened to it: claimed, ended, cancelled, retried.

Arithmetic only: (state, rules, event, now) -> state. Knows no ledger, no worker and no function.

Two budgets are never mixed: ``retries`` for attempts that ended with an error, ``interruptions``
for attempts whose worker died. An attempt is counted when it is claimed, not when it ends, so a job
that kills its worker cannot start more often than ``1 + interruptions`` times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

Status: TypeAlias = Literal["queued", "running", "succeeded", "failed", "canceled"]
"""As it is sent to clients; pollers of the field stop at exactly the last three."""

Ending: TypeAlias = Literal[
    "succeeded", "error", "refused", "timeout", "interrupted", "returned", "unstarted", "canceled"
]
"""How an attempt ended.

``refused`` is an error that another attempt would only repeat; ``interrupted``: its worker died;
``returned``: its worker was told to end and gave it back; ``unstarted``: its worker had no process
to run it in, so that its function was never called.
"""

STATUSES: Final = ("queued", "running", "succeeded", "failed", "canceled")
ENDED: Final = frozenset({"succeeded", "failed", "canceled"})

DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class JobRules:
    """What was declared for a job.

    :ivar timeout: Seconds one attempt may take; ``None`` for any time.
    :ivar retries: Attempts that may follow one that ended with an error.
    :ivar backoff: Seconds before the first retry; doubled for each further one.
    :ivar max_backoff: Seconds that no wait exceeds.
    :ivar interruptions: Attempts that may follow one whose worker died.
    :ivar rerun: Whether it may start again after its worker died or was told to end.
    :ivar keep: Seconds its record is kept after it succeeded or was cancelled.
    :ivar keep_failed: Seconds its record is kept after it failed.
    """

    timeout: float | None = 3_600.0
    retries: int = 0
    backoff: float = 2.0
    max_backoff: float = 600.0
    interruptions: int = 2
    rerun: bool = True
    keep: float = DAY
    keep_failed: float = 7 * DAY


class JobState(NamedTuple):
    """Where a job stands. Instants are seconds since 1970, by the clock of its ledger.

    A named tuple, as :class:`~flask_concurrency.jobs.record.JobRecord` is: to make both takes a
    quarter of what frozen dataclasses take, which were a fifth of a read (``./scripts/bench
    job-read``).

    :ivar due_at: Not started before.
    :ivar attempt: Starts so far; the number of the running attempt, which fences its end.
    :ivar errors: Of ``retries``, those spent.
    :ivar interruptions: Of the budget for dead workers, what is spent.
    :ivar cancel_requested: A running job is to be ended.
    :ivar started_at: Begin of the latest attempt.
    :ivar ended_at: When it came to its end.
    :ivar expires_at: When its record may be removed.
    """

    status: Status = "queued"
    due_at: float = 0.0
    attempt: int = 0
    errors: int = 0
    interruptions: int = 0
    cancel_requested: bool = False
    started_at: float | None = None
    ended_at: float | None = None
    expires_at: float | None = None

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return self.status in ENDED


def claimed(state: JobState, now: float) -> JobState | None:
    """The state once a worker has claimed it; ``None`` if it may not start now."""
    if state.status != "queued" or state.due_at > now:
        return None
    return state._replace(status="running", attempt=state.attempt + 1, started_at=now)


def attempt_ended(
    state: JobState, rules: JobRules, how: Ending, *, attempt: int, now: float, draw: float
) -> JobState | None:
    """The state once an attempt has ended; ``None`` if another attempt has taken its place.

    :param attempt: Which attempt ended. Only the running one changes anything.
    :param draw: A number from 0 up to 1, for the jitter of a retry.
    """
    if state.status != "running" or state.attempt != attempt:
        return None
    if how == "succeeded":
        return _ended(state, "succeeded", now, rules.keep)
    if how == "canceled" or state.cancel_requested:
        return _ended(state, "canceled", now, rules.keep)
    if how in ("error", "timeout") and state.errors < rules.retries:
        errors = state.errors + 1
        wait = retry_delay(rules, errors, draw)
        return state._replace(status="queued", errors=errors, due_at=now + wait)
    if how == "interrupted" and rules.rerun and state.interruptions < rules.interruptions:
        interruptions = state.interruptions + 1
        return state._replace(status="queued", interruptions=interruptions, due_at=now)
    if how == "unstarted" or (how == "returned" and rules.rerun):
        return state._replace(status="queued", due_at=now)
    return _ended(state, "failed", now, rules.keep_failed)


def cancelled(state: JobState, rules: JobRules, now: float) -> JobState | None:
    """The state once its cancellation is asked for; ``None`` if that changes nothing.

    A queued job is at its end; a running one is when its worker has ended it.
    """
    if state.status == "queued":
        return _ended(state, "canceled", now, rules.keep)
    if state.status == "running" and not state.cancel_requested:
        return state._replace(cancel_requested=True)
    return None


def queued_again(state: JobState, now: float) -> JobState | None:
    """The state once a job that failed or was cancelled is asked for again, with fresh budgets.

    ``None`` if it did neither. Attempts go on being counted.
    """
    if state.status not in ("failed", "canceled"):
        return None
    return JobState(due_at=now, attempt=state.attempt)


def retry_delay(rules: JobRules, errors: int, draw: float) -> float:
    """Seconds to wait before a retry: doubled each time, spread by a quarter in both directions.

    :param errors: Which retry it is, from 1 on.
    :param draw: A number from 0 up to 1.
    """
    doubled = rules.backoff * 2.0 ** min(errors - 1, 64)
    return min(rules.max_backoff, doubled * (0.75 + draw / 2))


def _ended(state: JobState, status: Status, now: float, keep: float) -> JobState:
    return state._replace(
        status=status, cancel_requested=False, ended_at=now, expires_at=now + keep
    )
