"""Refuse what no ledger accepts: one job too many, a key that was used for another.

Knows no ledger.
"""

from __future__ import annotations

from flask_concurrency.jobs.ledger import Capacity
from flask_concurrency.jobs.record import JobRecord
from flask_concurrency.vocabulary.errors import IdempotencyConflict, TooManyJobs


def check_capacity(capacity: Capacity, queued: int, of_owner: int) -> None:
    """Refuse one more queued job.

    :raises TooManyJobs: There are as many as may be.
    """
    if capacity.max_queued is not None and queued >= capacity.max_queued:
        raise TooManyJobs(max_queued=capacity.max_queued, of_owner=False)
    each = capacity.max_queued_per_owner
    if each is not None and of_owner >= each:
        raise TooManyJobs(max_queued=each, of_owner=True)


def conflict(record: JobRecord) -> IdempotencyConflict:
    """The error of a key that was used for other arguments."""
    return IdempotencyConflict(
        f"The idempotency key {record.key!r} was used for other arguments of {record.name!r}. Use "
        "a new key for each new request, and the same one only to repeat it."
    )
