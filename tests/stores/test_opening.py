"""Which store a URI opens, and what is said where it opens none."""

from __future__ import annotations

import sys
from urllib.parse import quote

import pytest

from flask_concurrency.stores.fallback import FallbackStore
from flask_concurrency.stores.limits_adapter import LimitsStore
from flask_concurrency.stores.opening import open_store
from flask_concurrency.stores.redis.redis_store import RedisStore
from flask_concurrency.vocabulary.errors import ConfigurationError


@pytest.mark.parametrize("uri", ["redis://localhost", "valkeys://localhost", "unix:///x.sock"])
def test_redis_stands_behind_a_fallback(uri: str) -> None:
    """Its outages must not be the app's; nothing is connected yet."""
    store = open_store(uri)
    assert isinstance(store, FallbackStore)
    assert isinstance(store.store, RedisStore)


def test_the_host_store_is_back_within_a_second() -> None:
    """Its probes wait less than a second from one to the next, however long it is out."""
    store = open_store("host://")
    assert isinstance(store, FallbackStore)
    assert 0 < store._breaker._slowest_probe < 0.5


def test_so_do_the_storages_of_the_limits_library() -> None:
    """They may be on another machine, too."""
    store = open_store("limits+memory://")
    assert isinstance(store, FallbackStore)
    assert isinstance(store.store, LimitsStore)


@pytest.mark.parametrize(
    ("uri", "package", "module", "extra"),
    [
        ("redis://localhost", "redis", "stores.redis.redis_store", "redis"),
        ("limits+memory://", "limits", "stores.limits_adapter", "limits"),
    ],
)
def test_a_missing_extra_names_the_command_that_installs_it(
    uri: str, package: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the app starts, not in the first request."""
    for name in list(sys.modules):
        if name.startswith((f"{package}.", "flask_concurrency.stores.redis.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"flask_concurrency.{module}", raising=False)
    with pytest.raises(ConfigurationError, match=rf'pip install "Flask-Concurrency\[{extra}\]"'):
        open_store(uri)


SECRETS = [
    "redis://:{}@h:6379/0",
    "rediss://user:{}@h:6379/0",
    "redis+sentinel://user:{}@h:26379/main",
    "redis+cluster://:{}@h:6379",
    "limits+redis://:{}@h:6379/0",
    "limits+memcached://user:{}@h:port",
    "unix://user:{}@/run/redis.sock/",
    "reddis://:{}@h:6379/0",
    "redis+tls://:{}@h:6379/0",
    "redis//:{}@h:6379/0",
    "redis:/:{}@h:6379/0",
    "redis:/:{}",
    '"redis://:{}@h:6379/0"',
    " redis://:{}@h:6379/0",
    "host://user:{}@h",
    "postgres://h/0?password={}",
    "host://?password={}",
]


@pytest.mark.parametrize("uri", SECRETS)
@pytest.mark.parametrize("password", ["Ab/cd+SECRET=", "x#SECRET", "x?SECRET", "SEC@RET", "SECRET"])
def test_no_message_shows_a_password(uri: str, password: str) -> None:
    """Whatever is misspelt, and whatever characters the password has: messages end up in logs."""
    written = uri.format(password)
    try:
        said = str(open_store(written))
    except ConfigurationError as error:
        said = str(error)
    for part in ("SECRET", "SEC", "RET", "Ab", "cd+"):
        assert part not in said.replace("SECRET_KEY", "")


@pytest.mark.parametrize("password", ["a/b", "a?b", "a#b"])
@pytest.mark.parametrize("uri", ["redis://:{}@h:6379/0", "limits+redis://:{}@h:6379/0"])
def test_a_character_that_ends_a_password_early_is_named(uri: str, password: str) -> None:
    """With the way to write it; the same password in that spelling is taken."""
    with pytest.raises(ConfigurationError, match=r"write \"/\" as %2F"):
        open_store(uri.format(password))
    open_store(uri.format(quote(password, safe=""))).close()


def test_a_scheme_alone_is_no_uri() -> None:
    """The message shows what a URI looks like."""
    with pytest.raises(ConfigurationError, match=r"URI 'redis'.*redis://localhost:6379/0"):
        open_store("redis")


def test_an_unknown_uri_shows_some_that_are_known() -> None:
    """With an example of each kind."""
    with pytest.raises(ConfigurationError, match=r"redis\+sentinel://"):
        open_store("postgres://localhost")
