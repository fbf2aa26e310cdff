"""Turn what goes wrong with jobs into HTTP. Knows no job and no ledger."""

from __future__ import annotations

from typing import Any

from werkzeug.exceptions import (
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    RequestEntityTooLarge,
    UnprocessableEntity,
)

from flask_concurrency.flask_app.http.responses import (
    REFUSED_UNASKED,
    Problem,
    QuotaExceeded,
    ServerBusy,
    soon,
)
from flask_concurrency.vocabulary.errors import (
    IdempotencyConflict,
    JobError,
    JobNotFound,
    JobNotJson,
    JobsUnavailable,
    TooManyJobs,
)


class NoSuchJob(Problem, NotFound):
    """404, the same for an id that never was, one that has expired, and a job of another owner."""

    title = "No such job"
    description = "There is no such job, or no longer, or it is not yours."


class InvalidIdempotencyKey(Problem, BadRequest):
    """400: the key is empty, too long, or holds what no key holds."""

    title = "Invalid Idempotency-Key"


class KeyUsedBefore(Problem, UnprocessableEntity):
    """422: the key was used for another request."""

    title = "Idempotency-Key used before"
    description = (
        "This key was used for a request with other content. Use a new key for each new request, "
        "and the same one only to repeat it."
    )


class InvalidJobRequest(Problem, BadRequest):
    """400: a parameter of a listing is no such thing."""

    title = "Invalid parameter"


class JobNotEnded(Problem, Conflict):
    """409: it has no result, yet or at all."""

    title = "No result"


class JobFileGone(Problem, Gone):
    """410: the result was a file, which is no longer there."""

    title = "Result expired"
    description = "The result of this job is no longer kept."


class CrossSite(Problem, Forbidden):
    """403: another site's page may not end a user's jobs."""

    title = "Cross-site request"
    description = "Jobs can be ended from this site only, or from an origin that CORS allows."


class ArgumentsTooLarge(Problem, RequestEntityTooLarge):
    """413: what was sent is more than a job may be given."""

    title = "Too large"
    description = "What was sent is more than one job may be given."


class JobsOut(ServerBusy):
    """503: no job can be accepted or found at the moment; nothing was accepted."""

    title = "Jobs unavailable"

    def get_headers(self, environ: Any = None, scope: object = None) -> list[tuple[str, str]]:
        """With the seconds after which to come back."""
        return [*super().get_headers(environ, scope), ("Retry-After", str(soon()))]


class OwnersQueueFull(QuotaExceeded):
    """429: the client has as many jobs queued as one may have."""

    title = "Too many jobs"

    def get_headers(self, environ: Any = None, scope: object = None) -> list[tuple[str, str]]:
        """With the seconds after which to come back."""
        return [*super().get_headers(environ, scope), ("Retry-After", str(soon()))]


def problem_for(error: JobError) -> Problem | None:
    """The problem document of an error of ours; ``None`` if it is the developer's."""
    if isinstance(error, JobNotFound):
        return NoSuchJob()
    if isinstance(error, IdempotencyConflict):
        return KeyUsedBefore()
    if isinstance(error, TooManyJobs):
        if error.of_owner:
            return OwnersQueueFull(
                REFUSED_UNASKED, f"{error.max_queued} jobs of yours are queued. Try again later."
            )
        return JobsOut(REFUSED_UNASKED, "As many jobs are queued as may be. Try again later.")
    if isinstance(error, JobsUnavailable):
        return JobsOut(REFUSED_UNASKED, "Jobs cannot be accepted or read at the moment.")
    if isinstance(error, JobNotJson) and error.too_large:
        return ArgumentsTooLarge()
    return None
