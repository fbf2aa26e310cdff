"""Hold what is known of one job: the record that a ledger keeps. Knows no ledger and no worker."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from typing import Any, Final, NamedTuple

from flask_concurrency.policies.job_state import Ending, JobRules, JobState
from flask_concurrency.vocabulary.errors import JobNotJson

KEPT_ATTEMPTS: Final = 50
"""Attempts of which the record tells begin and end; drains may make any number of them."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a job.

    :ivar number: From 1 on.
    :ivar worker: Which worker claimed it.
    :ivar how: How it ended; ``None`` while it runs.
    """

    number: int
    worker: str
    started_at: float
    ended_at: float | None = None
    how: Ending | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running job last said of itself.

    :ivar fraction: From 0 to 1; ``None`` if it does not know.
    """

    fraction: float | None = None
    message: str = ""


class JobRecord(NamedTuple):
    """A job, as its ledger keeps it.

    :ivar id: 192 random bits: where users do not log in, to know it is to be allowed to ask for it.
    :ivar name: Under which its function is registered.
    :ivar owner: The user it belongs to; ``""`` for none.
    :ivar key: Idempotency key; ``None`` if none was given.
    :ivar digest: Of name and arguments, to compare what else is submitted under the same key.
    :ivar arguments: JSON: a list of positional and a dict of keyword arguments.
    :ivar worker: Which worker has claimed it, while it runs.
    :ivar version: Counts the changes.
    :ivar result: JSON, once it succeeded.
    :ivar error: ``type``, ``title`` and ``detail`` of the latest attempt that failed.
    """

    id: str
    name: str
    queue: str
    owner: str
    key: str | None
    digest: str
    arguments: str
    rules: JobRules
    created_at: float
    state: JobState
    worker: str | None = None
    version: int = 1
    progress: Progress | None = None
    result: str | None = None
    error: dict[str, str] | None = None
    attempts: tuple[Attempt, ...] = ()

    def call_arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments of its function."""
        args, kwargs = json.loads(self.arguments)
        return args, kwargs

    def accepted(self, now: float) -> JobRecord:
        """The record of a new job, once its ledger keeps it."""
        state = JobState(due_at=now + max(0.0, self.state.due_at))
        return self._replace(created_at=now, state=state)

    def begun(self, state: JobState, worker: str) -> JobRecord:
        """The record of a job that a worker has claimed."""
        attempt = Attempt(state.attempt, worker, state.started_at or 0.0)
        attempts = (*self.attempts, attempt)[-KEPT_ATTEMPTS:]
        return self.changed(state=state, worker=worker, attempts=attempts, progress=None)

    def finished(self, state: JobState, how: Ending, now: float, **values: Any) -> JobRecord:
        """The record after its running attempt has ended."""
        *before, last = self.attempts
        attempts = (*before, replace(last, ended_at=now, how=how))
        return self.changed(state=state, worker=None, attempts=attempts, **values)

    def changed(self, **values: Any) -> JobRecord:
        """The record with other values, and a version of its own."""
        return self._replace(version=self.version + 1, **values)


_STATE: Final = JobState._fields
_PLAIN: Final = ("id", "name", "queue", "owner", "key", "digest", "arguments", "created_at")
_PLAIN_AFTER: Final = ("worker", "version", "result")
COLUMNS: Final = (*_PLAIN, *_STATE, *_PLAIN_AFTER, "rules", "progress", "error", "attempts")
"""The names under which a ledger keeps the values of :func:`row_of`, in order."""


def row_of(record: JobRecord) -> tuple[Any, ...]:
    """A record as plain values, in the order of :data:`COLUMNS`."""
    progress, error, attempts = record.progress, record.error, record.attempts
    return (
        *(getattr(record, name) for name in _PLAIN),
        *record.state,
        *(getattr(record, name) for name in _PLAIN_AFTER),
        _RULES.get(record.rules) or _rules_text(record.rules),
        None if progress is None else json.dumps([progress.fraction, progress.message]),
        None if error is None else json.dumps(error),
        json.dumps([[a.number, a.worker, a.started_at, a.ended_at, a.how] for a in attempts]),
    )


def record_of(row: Sequence[Any]) -> JobRecord:
    """The record of a row that :func:`row_of` made."""
    plain, states = len(_PLAIN), len(_PLAIN) + len(_STATE)
    status, due, attempt, errors, interruptions, cancel, *instants = row[plain:states]
    worker, version, result, rules, progress, error, attempts = row[states:]
    id, name, queue, owner, key, digest, arguments, created_at = row[:plain]
    return JobRecord(
        id,
        name,
        queue,
        owner,
        key,
        digest,
        arguments,
        _rules(rules),
        created_at,
        JobState(status, due, attempt, errors, interruptions, bool(cancel), *instants),
        worker,
        version,
        None if progress is None else Progress(*json.loads(progress)),
        result,
        None if error is None else json.loads(error),
        () if attempts == "[]" else tuple(Attempt(*each) for each in json.loads(attempts)),
    )


def new_id() -> str:
    """An id that cannot be guessed."""
    while (made := secrets.token_urlsafe(24)).startswith("-"):  # a command would take it for an
        pass  # option
    return made


def new_record(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    max_arguments: int,
    queue: str = "default",
    owner: str = "",
    key: str | None = None,
    rules: JobRules | None = None,
    delay: float = 0.0,
) -> JobRecord:
    """The record of a job that is to be submitted; its instants are relative to that.

    :param max_arguments: Bytes that its arguments may take as JSON.
    :param delay: Seconds for which it is not started.
    :raises JobNotJson: The arguments are not JSON, or too large.
    """
    arguments = as_json([list(args), dict(kwargs)], f"The arguments of {name!r}")
    if len(arguments.encode()) > max_arguments:
        raise JobNotJson(
            f"The arguments of {name!r} take {len(arguments.encode()):,} bytes as JSON; "
            f"{max_arguments:,} are allowed. Store the data and submit where it is, or raise "
            "'max_arguments'.",
            too_large=True,
        )
    digest = sha256(f"{name}\n{arguments}".encode()).hexdigest()
    state = JobState(due_at=delay)
    return JobRecord(
        new_id(), name, queue, owner, key, digest, arguments, rules or JobRules(), 0.0, state
    )


def as_json(value: object, what: str) -> str:
    """Write a value as JSON.

    :param what: Begins the message: "The result of 'report'".
    :raises JobNotJson: It cannot be.
    """
    try:
        text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise JobNotJson(
            f"{what} cannot be written as JSON: {error}. Use dicts, lists, texts, finite numbers, "
            "booleans and None."
        ) from None
    return text


_RULES: Final[dict[JobRules, str]] = {}
_READ: Final[dict[str, JobRules]] = {}
_REMEMBERED: Final = 1_000


def _rules_text(rules: JobRules) -> str:
    if len(_RULES) >= _REMEMBERED:
        _RULES.clear()
    text = _RULES[rules] = json.dumps(asdict(rules))
    return text


def _rules(text: str) -> JobRules:
    rules = _READ.get(text)
    if rules is None:
        if len(_READ) >= _REMEMBERED:
            _READ.clear()
        known = {each.name for each in fields(JobRules)}
        values = {name: value for name, value in json.loads(text).items() if name in known}
        rules = _READ[text] = JobRules(**values)
    return rules
