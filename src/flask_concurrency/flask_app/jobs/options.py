"""Read ``CONCURRENCY_JOBS``, and refuse what cannot be meant. Opens nothing.

Knows the options of jobs and their types; knows no ledger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import inf
from typing import Any, Final

from flask_concurrency.policies.job_state import DAY, JobRules
from flask_concurrency.vocabulary.errors import ConfigurationError

KEY: Final = "CONCURRENCY_JOBS"
CELERY: Final = "celery"
_PLACE: Final = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The options of jobs of one app.

    :ivar ledger: Where jobs are kept: ``"sqlite:////var/lib/shop/jobs.sqlite3"``, or the URL of a
        Redis server. Default: a file ``concurrency/jobs.sqlite3`` in the app's instance folder.
    :ivar lease: On Redis, seconds after which the jobs of a worker that says nothing are given to
        others.
    :ivar engine: What carries jobs to workers: ``"celery"``, a Celery application, or a function of
        the app and its jobs that gives an engine. Default: workers look into the ledger themselves.
    :ivar app: With ``"celery"``, where the Celery application is: ``"shop:celery"``. Default: in
        ``app.extensions["celery"]``.
    :ivar url_prefix: Where clients ask for jobs; ``None`` for nowhere.
    :ivar owner: Gives in a request whose jobs it is about: any value with a text, ``None`` or
        ``""`` for none. Default: the user who is logged in with Flask-Login.
    :ivar keep: Seconds for which a job's record and result are kept after it succeeded.
    :ivar keep_failed: The same after it failed.
    :ivar max_queued: Jobs that may be queued; ``None`` for any number.
    :ivar max_queued_per_owner: The same for each owner.
    :ivar max_arguments: Bytes that the arguments of a job may take as JSON.
    :ivar max_result: Bytes that a result may take as JSON; larger ones are files.
    :ivar timeout: Seconds an attempt may take; ``None`` for any time.
    :ivar retries: Attempts that may follow an error.
    :ivar backoff: Seconds before the first retry; doubled for each further one.
    :ivar interruptions: Attempts that may follow one whose worker died.
    :ivar processes: Jobs that a worker runs at once. Default: one for each processor.
    :ivar max_memory: What a job may take of memory, such as ``"512MiB"``. Default: any.
    :ivar max_wait: Seconds for which a request waits at most if its client asks for that.
    """

    ledger: str | None = None
    lease: float = 30.0
    engine: Any = None
    app: str | None = None
    url_prefix: str | None = "/jobs"
    owner: Callable[[], object] | None = None
    keep: float = DAY
    keep_failed: float = 7 * DAY
    max_queued: int | None = 10_000
    max_queued_per_owner: int | None = 100
    max_arguments: int = 65_536
    max_result: int = 65_536
    timeout: float | None = 3_600.0
    retries: int = 0
    backoff: float = 2.0
    interruptions: int = 2
    processes: int | None = None
    max_memory: int | str | None = None
    max_wait: float = 10.0

    def rules(self, declared: Mapping[str, Any]) -> JobRules:
        """The rules of a job.

        :param declared: What was written at its declaration; it wins.
        """
        names = (each.name for each in fields(JobRules) if hasattr(self, each.name))
        return JobRules(**{name: getattr(self, name) for name in names} | dict(declared))


def read_job_options(given: Mapping[str, Any]) -> JobOptions:
    """Check options, and fill in the defaults.

    :raises ConfigurationError: Naming the option, its value and the remedy.
    """
    known = [each.name for each in fields(JobOptions)]
    for name, value in given.items():
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known are {', '.join(known)}."
            raise ConfigurationError(f"{KEY}: there is no option {name!r}. {hint}")
        wanted = _CHECKS[name](value)
        if wanted is not None:
            raise ConfigurationError(f"{KEY} = {{{name!r}: {value!r}}}: {wanted}.")
    options = JobOptions(**given)
    if options.app is not None and options.engine != CELERY:
        raise ConfigurationError(
            f"{KEY} = {{'app': {options.app!r}}}: that says where a Celery application is, and "
            f"'engine' is not {CELERY!r}."
        )
    return options


def check_declared(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options of ``@concurrency.job``; those that were left out are not in it.

    :raises ConfigurationError: Naming the job, the option, its value and the remedy.
    """
    told = {option: value for option, value in options.items() if value is not UNSET}
    for option, value in told.items():
        wanted = _CHECKS[option](value)
        if wanted is not None:
            raise ConfigurationError(f"job {name!r}: {option}={value!r}: {wanted}.")
    return told


class Unset:
    """What stands for an option that was left out, since ``None`` means unlimited."""

    def __repr__(self) -> str:
        return "<the configured value>"


UNSET: Final = Unset()


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds(value: object) -> str | None:
    good = _number(value) and 0 < float(value) < inf  # type: ignore[arg-type]
    return None if good else "give seconds, more than 0"


def _seconds_or_none(value: object) -> str | None:
    return None if value is None else _seconds(value) and "give seconds, or None for any time"


def _wait(value: object) -> str | None:
    good = _number(value) and 0 <= float(value) <= 60  # type: ignore[arg-type]
    return None if good else "give seconds from 0 to 60"


def _count(value: object) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return None if good else "give a whole number of at least 0"


def _count_or_none(value: object) -> str | None:
    return None if value is None else _count(value) and f"{_count(value)}, or None for any number"


def _at_least_one(value: object) -> str | None:
    good = value is None or (isinstance(value, int) and value is not True and value >= 1)
    return None if good else "give a whole number of at least 1"


def _bytes(value: object) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return None if good else "give bytes, at least 1"


def _prefix(value: object) -> str | None:
    good = value is None or (
        isinstance(value, str) and value.startswith("/") and value.strip("/") != ""
    )
    return None if good else 'give a path such as "/jobs", or None for no routes'


def _text(value: object) -> str | None:
    return None if value is None or isinstance(value, str) else "give text"


def _engine(value: object) -> str | None:
    if value is None or value == CELERY or callable(value) or hasattr(value, "send_task"):
        return None
    if isinstance(value, str) and (value == "sqlite" or "://" in value):
        return "that is where jobs are kept, not what carries them; write it as 'ledger'"
    return f"give {CELERY!r}, a Celery application, or a function that makes an engine"


def _place(value: object) -> str | None:
    good = value is None or (isinstance(value, str) and _PLACE.fullmatch(value) is not None)
    return None if good else 'give a module and a name in it, such as "shop:celery"'


def _callable(value: object) -> str | None:
    return None if value is None or callable(value) else "give a function"


def _memory(value: object) -> str | None:
    return None if value is None or isinstance(value, int | str) else 'give bytes, or "512MiB"'


def _truth(value: object) -> str | None:
    return None if isinstance(value, bool) else "give True or False"


_CHECKS: Final[dict[str, Callable[[object], str | None]]] = {
    "ledger": _text,
    "lease": _seconds,
    "engine": _engine,
    "app": _place,
    "url_prefix": _prefix,
    "owner": _callable,
    "keep": _seconds,
    "keep_failed": _seconds,
    "max_queued": _count_or_none,
    "max_queued_per_owner": _count_or_none,
    "max_arguments": _bytes,
    "max_result": _bytes,
    "timeout": _seconds_or_none,
    "retries": _count,
    "backoff": _seconds,
    "interruptions": _count,
    "processes": _at_least_one,
    "max_memory": _memory,
    "max_wait": _wait,
    "rerun": _truth,
}
