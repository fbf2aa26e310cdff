"""Read ``CONCURRENCY_*`` from the app's configuration, once, and refuse what cannot be meant.

Knows the keys and their types; opens nothing and starts nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import inf
from typing import Any, Literal

from flask_concurrency.engine.declaration import Declaration
from flask_concurrency.flask_app.declarations.options import LimitsLike, read_declarations
from flask_concurrency.stores.fallback import ON_FAILURE, OnFailure
from flask_concurrency.stores.opening import TIMEOUT
from flask_concurrency.vocabulary.errors import ConfigurationError
from flask_concurrency.vocabulary.executor_names import check_meaning

PREFIX = "CONCURRENCY_"

STANDS_STILL = 0.25
"""Seconds for which an event loop may stand still in debug mode; people notice a little less."""

SERVED_WITH = "FLASK_CONCURRENCY_SERVER_THREADS"
"""Environment variable in which ``flask concurrency serve`` passes its workers their threads."""

UNLIMITED = "FLASK_CONCURRENCY_UNLIMITED"
"""Environment variable in which ``flask concurrency tune`` tells its server to limit nothing."""

POOL = "FLASK_CONCURRENCY_POOL_THREADS"
"""Environment variable with the threads of ``concurrency.threads``, where none are configured."""

_OF_A_SERVICE = re.compile(
    r"CONCURRENCY_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""What is left of ``FLASK_CONCURRENCY_SERVICE_HOST`` and the like, without ``FLASK_``."""

OTHER_NAMES = {
    "app_limit": "app_limits",
    "application_limits": "app_limits",
    "default": "default_limits",
    "redis_url": "store",
    "storage_uri": "store",
    "storage_url": "store",
    "store_uri": "store",
    "store_url": "store",
}
"""What other extensions call a setting."""

OF_FLASK_LIMITER = {
    "RATELIMIT_APPLICATION": "APP_LIMITS",
    "RATELIMIT_DEFAULT": "DEFAULT_LIMITS",
    "RATELIMIT_ENABLED": "ENABLED",
    "RATELIMIT_HEADERS_ENABLED": "HEADERS",
    "RATELIMIT_IN_MEMORY_FALLBACK_ENABLED": "ON_STORE_FAILURE",
    "RATELIMIT_KEY_PREFIX": "NAMESPACE",
    "RATELIMIT_STORAGE_URI": "STORE",
    "RATELIMIT_STORAGE_URL": "STORE",
    "RATELIMIT_SWALLOW_ERRORS": "ON_STORE_FAILURE",
}
"""Keys of Flask-Limiter, and what takes their place."""

COMMANDS = (
    "SERVE",
    "EXPLAIN",
    "STATUS",
    "RESET",
    "DOCTOR",
    "TUNE",
    "WORKER",
    "JOBS_LIST",
    "JOBS_SHOW",
)
OF_COMMANDS = tuple(f"{PREFIX}{command}_" for command in COMMANDS)
"""What options of ``flask concurrency`` begin with in the environment, after ``FLASK_``."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration of one app.

    :ivar store: ``STORE``, where counts live; default ``"host://"``, shared by all processes of
        this host, but ``"memory://"`` with ``app.testing`` and where the platform lacks it.
    :ivar namespace: ``NAMESPACE``, whose counts these are where apps share a store; default the
        app's name, and on one host the directory it lives in.
    :ivar store_timeout: ``STORE_TIMEOUT``, seconds a call to a store on another machine takes at
        most; default ``0.25``.
    :ivar on_store_failure: ``ON_STORE_FAILURE``, what happens to requests while that store is out:
        ``"local"`` (the default) counts in each process by itself, ``"admit"`` lets them in,
        ``"refuse"`` does not.
    :ivar default_limits: ``DEFAULT_LIMITS``, for each route by itself; default none.
    :ivar app_limits: ``APP_LIMITS``, one count for the whole app; default none.
    :ivar enabled: ``ENABLED``, whether limits are applied at all; default true.
    :ivar headers: ``HEADERS``, whether ``RateLimit`` fields are sent; ``"legacy"`` adds the three
        ``X-RateLimit-*`` fields of the tightest rate; default true.
    :ivar drain_timeout: ``DRAIN_TIMEOUT``, seconds for which the end of a server or process waits
        for tasks of threads, processes and the loop; default ``30``.
    :ivar max_request_age: ``MAX_REQUEST_AGE``, seconds a request may have waited since the instant
        its proxy wrote in ``X-Request-Start``; older ones are refused, since their clients have
        given up. Set it only behind a proxy that sets the header. Default: any age.
    :ivar trust_request_start: ``TRUST_REQUEST_START``, whether a proxy sets ``X-Request-Start`` on
        every request, so that it gives the age of one where the kernel cannot. Default: only with
        ``MAX_REQUEST_AGE``.
    :ivar skip_gone_clients: ``SKIP_GONE_CLIENTS``, whether an adaptive limit drops requests whose
        client has closed its side of the connection. Set it to false for clients that close their
        side and still read. Default: true.
    :ivar server_threads: ``SERVER_THREADS``, how many requests the server runs at once in one
        process; two of them never wait for a permit. Default: the option of
        ``flask concurrency serve``; elsewhere not known, and all may wait.
    :ivar watchdog: ``WATCHDOG``, seconds for which an event loop may stand still before the log
        names the function that blocks it; ``None`` for any time. Default: ``"debug"``, 0.25 in
        debug mode and any time otherwise.
    :ivar counts: ``COUNTS``, whether requests, tasks and connections are counted although no page
        of the app shows them, for :meth:`Concurrency.snapshot` and the commands; default false.
    :ivar threads: ``THREADS``, options of the thread executor; default none.
    :ivar processes: ``PROCESSES``, options of the process executor; default none.
    :ivar websocket_threads: ``WEBSOCKET_THREADS``, how many WebSockets of plain handlers a process
        holds at once under ASGI, each on a thread; default ``100``.
    :ivar executors: ``EXECUTORS``, what further names of executors stand for: another name, an
        executor, or a function that makes one; default none.
    :ivar jobs: ``JOBS``, options of jobs that outlive their request, such as
        ``{"ledger": "sqlite:////var/lib/shop/jobs.sqlite3", "retries": 3}``; default none.
    """

    store: str | None = None
    namespace: str | None = None
    store_timeout: float = TIMEOUT
    on_store_failure: OnFailure = "local"
    default_limits: tuple[Declaration, ...] = ()
    app_limits: tuple[Declaration, ...] = ()
    enabled: bool = True
    headers: bool | Literal["legacy"] = True
    drain_timeout: float = 30.0
    max_request_age: float | None = None
    trust_request_start: bool = False
    skip_gone_clients: bool = True
    server_threads: int | None = None
    watchdog: float | Literal["debug"] | None = "debug"
    counts: bool = False
    threads: Mapping[str, Any] = field(default_factory=dict)
    processes: Mapping[str, Any] = field(default_factory=dict)
    websocket_threads: int = 100
    executors: Mapping[str, Any] = field(default_factory=dict)
    jobs: Mapping[str, Any] = field(default_factory=dict)

    def blocked_for(self, debug: bool) -> float | None:
        """Seconds for which an event loop may stand still; ``None`` for any time."""
        if self.watchdog != "debug":
            return self.watchdog
        return STANDS_STILL if debug else None

    @property
    def charges_by_response(self) -> bool:
        """Whether a response decides if a limit of the app is charged."""
        return any(each.settled_by_response for each in (*self.default_limits, *self.app_limits))


ENABLED = f"{PREFIX}ENABLED"

FIXED = frozenset(
    {
        "counts",
        "drain_timeout",
        "watchdog",
        "threads",
        "processes",
        "websocket_threads",
        "executors",
        "jobs",
    }
)
"""Settings of what ``init_app`` has made: a later change would not reach it."""


def written(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says to us, to be compared with what it said before."""
    return {key: value for key, value in config.items() if key.startswith(PREFIX)}


def check_late_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a configuration was changed after ``init_app`` has read it, before its first request.

    :raises ConfigurationError: The change comes too late.
    """
    changed = [key for key in {**before, **now} if before.get(key, now) != now.get(key, before)]
    late = sorted(key for key in changed if key.removeprefix(PREFIX).lower() in FIXED)
    if late:
        raise ConfigurationError(
            f"{late[0]} was changed after init_app(), which has made what it is about: set it "
            "before Concurrency(app) or concurrency.init_app(app)."
        )
    return bool(changed)


def read_settings(config: Mapping[str, Any], **given: object) -> Settings:
    """Read an app's configuration; a key set there wins over what the code gave.

    :param config: The app's ``config``.
    :param given: Values from the extension's constructor; ``None`` counts as not given.
    :raises ConfigurationError: Naming the key, its value and the remedy.
    """
    values = {name: value for name, value in given.items() if value is not None}
    if SERVED_WITH in os.environ:
        values.setdefault("server_threads", _environment(SERVED_WITH))
    known = Settings.__dataclass_fields__
    for key, value in config.items():
        _check_prefix(key, known)
        if not key.startswith(PREFIX) or _is_of_a_command(key) or _is_of_kubernetes(key):
            continue
        name = key.removeprefix(PREFIX).lower()
        if name not in known or key != key.upper():
            raise ConfigurationError(f"Unknown configuration key {key!r}: {_hint(name, known)}")
        values[name] = value
    if UNLIMITED in os.environ:
        values["enabled"] = False
    if POOL in os.environ:
        options = values.get("threads", {})
        if isinstance(options, Mapping):
            values["threads"] = {"max_workers": _environment(POOL), **options}
    return Settings(**{name: _read(name, value) for name, value in values.items()})


def _environment(variable: str) -> int:
    try:
        return int(os.environ[variable])
    except ValueError:
        raise ConfigurationError(
            f"The environment says {variable}={os.environ[variable]!r}: give the number of threads."
        ) from None


def _check_prefix(key: str, known: Mapping[str, object]) -> None:
    """Refuse a key of ours whose prefix is misspelt: nothing else would read it."""
    prefix, _, rest = key.partition("_")
    if (
        rest.lower() in known
        and key != PREFIX + rest
        and get_close_matches(prefix.upper(), [PREFIX.rstrip("_")], cutoff=0.8)
    ):
        raise ConfigurationError(
            f"Unknown configuration key {key!r}: did you mean '{PREFIX}{rest.upper()}'?"
        )


def _is_of_kubernetes(key: str) -> bool:
    """Whether Kubernetes wrote this variable for a service that has our name."""
    return _OF_A_SERVICE.fullmatch(key) is not None and f"FLASK_{key}" in os.environ


def _is_of_a_command(key: str) -> bool:
    """Whether the environment says it to a command or to a server's workers, not to the app.

    ``app.config.from_prefixed_env()`` takes along whatever begins with ``FLASK_``.
    """
    variable = f"FLASK_{key}"
    return variable in os.environ and (variable in (POOL, UNLIMITED) or key.startswith(OF_COMMANDS))


def _read(name: str, value: object) -> Any:
    if value is None and Settings.__dataclass_fields__[name].default is None:
        return None
    return _READERS[name](name, value)


def left_over(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of Flask-Limiter in a configuration, with the key that takes the place of each."""
    return {key: PREFIX + name for key, name in OF_FLASK_LIMITER.items() if key in config}


def _hint(name: str, known: Mapping[str, object]) -> str:
    if name in OTHER_NAMES:
        return f"did you mean '{PREFIX}{OTHER_NAMES[name].upper()}'?"
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean '{PREFIX}{close[0].upper()}'?"
    return f"known are {', '.join(PREFIX + name.upper() for name in known)}."


def _wrong(name: str, value: object, wanted: str) -> ConfigurationError:
    return ConfigurationError(f"{PREFIX}{name.upper()} = {value!r}: {wanted}.")


def _limits(name: str, value: LimitsLike) -> tuple[Declaration, ...]:
    try:
        return () if isinstance(value, tuple | list) and not value else read_declarations(value)
    except ConfigurationError as error:
        none = "" if value else " An empty list means none."
        raise ConfigurationError(f"{PREFIX}{name.upper()}: {error}{none}") from None


def _text(name: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and name == "namespace":
        return str(value)  # a release's number, which the environment gives as one
    if not isinstance(value, str):
        in_quotes = "'\"1.10\"'"
        raise _wrong(
            name, value, f"give text; in the environment a number in quotes, as in {in_quotes}"
        )
    return value


def _truth(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, value, "give True or False; in the environment, true or false")
    return value


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        raise _wrong(name, value, "give seconds, more than 0")
    return float(value)


def _watchdog(name: str, value: object) -> object:
    return value if value in (None, "debug") else _seconds(name, value)


def _threads(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _wrong(name, value, "give the number of threads, at least 1")
    return value


def _on_failure(name: str, value: object) -> object:
    if value not in ON_FAILURE:
        raise _wrong(name, value, f"choose one of {', '.join(map(repr, ON_FAILURE))}")
    return value


def _headers(name: str, value: object) -> object:
    if not isinstance(value, bool) and value != "legacy":
        raise _wrong(name, value, 'give True, False or "legacy"')
    return value


def _options(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(name, value, 'give a dict of options, such as {"max_workers": 8}')
    return dict(value)


def _executors(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(name, value, 'give a dict of names, such as {"reports": "processes"}')
    try:
        for executor, meaning in value.items():
            check_meaning(executor, meaning)
    except ConfigurationError as error:
        raise ConfigurationError(f"{PREFIX}{name.upper()}: {error}") from None
    return dict(value)


_READERS: Mapping[str, Any] = {
    "store": _text,
    "namespace": _text,
    "store_timeout": _seconds,
    "on_store_failure": _on_failure,
    "default_limits": _limits,
    "app_limits": _limits,
    "enabled": _truth,
    "headers": _headers,
    "drain_timeout": _seconds,
    "max_request_age": _seconds,
    "trust_request_start": _truth,
    "skip_gone_clients": _truth,
    "server_threads": _threads,
    "watchdog": _watchdog,
    "counts": _truth,
    "threads": _options,
    "processes": _options,
    "websocket_threads": _threads,
    "executors": _executors,
    "jobs": _options,
}
