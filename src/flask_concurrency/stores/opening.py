"""Open the store a URI names. Knows which stores exist; knows nothing of what they count."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

from flask_concurrency.stores.circuit_breaker import CircuitBreaker
from flask_concurrency.stores.fallback import FallbackStore, OnFailure
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.stores.redis.url import EXAMPLES, names_redis
from flask_concurrency.stores.store import Store
from flask_concurrency.stores.uri_text import without_credentials
from flask_concurrency.vocabulary.errors import ConfigurationError

HOST_WORKS = find_spec("fcntl") is not None
"""Whether this platform has the file locks of the host store."""

HOST_PROBE = 0.4
"""Seconds between two probes of the host store at most, so that it is back within a second."""

TIMEOUT = 0.25
"""Seconds a call to a store on another machine takes at most."""


def open_store(
    uri: str,
    *,
    namespace: str = "app",
    timeout: float = TIMEOUT,
    on_failure: OnFailure = "local",
) -> Store:
    """Open a store.

    :param uri: ``"memory://"``, the counts of one process; ``"host://"``, those of all processes of
        this host and user; ``"redis://…"`` and its kind, those of all processes that name the same
        server; ``"limits+…"``, a storage of the ``limits`` library.
    :param namespace: Whose counts these are, where apps share a store.
    :param timeout: Seconds a call to another machine takes at most.
    :param on_failure: What happens to requests while another machine does not answer.
    :raises ConfigurationError: No store has that URI, or what it needs is not installed.
    """
    if uri == "memory://":
        return MemoryStore()
    if uri.startswith("host:"):
        return _host(uri, namespace, on_failure)
    if names_redis(uri):
        return _redis(uri, namespace, timeout, on_failure)
    if uri.startswith("limits+"):
        return _limits(uri, namespace, timeout, on_failure)
    raise ConfigurationError(
        f"No store has the URI {without_credentials(uri)!r}. "
        f'Use "host://", "memory://", {EXAMPLES}.'
    )


def default_uri() -> str:
    """The store of an app that names none: shared by the host, where the platform can."""
    return "host://" if HOST_WORKS else "memory://"


def _host(uri: str, namespace: str, on_failure: OnFailure) -> Store:
    if not HOST_WORKS:
        raise ConfigurationError(
            f"The store {without_credentials(uri)!r} needs file locks that this platform does not "
            'have. Use "memory://", which counts in each process by itself, or a Redis server.'
        )
    from flask_concurrency.stores.host.host_store import MAX_KEYS, MAX_PROCESSES, HostStore
    from flask_concurrency.stores.host.url import read_url

    directory, sizes = read_url(uri)
    store = HostStore(
        namespace,
        directory=directory,
        max_keys=sizes.get("max_keys", MAX_KEYS),
        max_processes=sizes.get("max_processes", MAX_PROCESSES),
    )
    # A probe of a file on this machine costs little, and a stopped process goes on at any moment.
    breaker = partial(CircuitBreaker, slowest_probe=HOST_PROBE)
    return FallbackStore(store, store.probe, on_failure=on_failure, breaker=breaker)


def _redis(uri: str, namespace: str, timeout: float, on_failure: OnFailure) -> Store:
    try:
        from flask_concurrency.stores.redis.redis_store import RedisStore
    except ModuleNotFoundError as error:
        raise _missing("redis", error) from None
    store = RedisStore(uri, namespace=namespace, timeout=timeout)
    return FallbackStore(store, store.probe, on_failure=on_failure)


def _limits(uri: str, namespace: str, timeout: float, on_failure: OnFailure) -> Store:
    try:
        from flask_concurrency.stores.limits_adapter import LimitsStore
    except ModuleNotFoundError as error:
        raise _missing("limits", error) from None
    store = LimitsStore(uri, namespace=namespace, timeout=timeout)
    return FallbackStore(store, store.probe, on_failure=on_failure)


def _missing(extra: str, error: ModuleNotFoundError) -> ConfigurationError:
    return ConfigurationError(
        f"The store needs {error.name!r}, which is not installed. "
        f'Run: pip install "Flask-Concurrency[{extra}]"'
    )
