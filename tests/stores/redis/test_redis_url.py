"""URLs of Redis and Valkey: what each means, and what is said of those that mean nothing."""

from __future__ import annotations

import pytest

from flask_concurrency.stores.redis.redis_store import RedisStore
from flask_concurrency.stores.redis.url import names_redis, read_url
from flask_concurrency.vocabulary.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "kind", "tls", "nodes", "service"),
    [
        ("redis://", "single", False, [("localhost", 6379)], ""),
        ("redis://cache:7000/3", "single", False, [("cache", 7000)], ""),
        ("rediss://cache/0", "single", True, [("cache", 6379)], ""),
        ("redis://[::1]:7000", "single", False, [("::1", 7000)], ""),
        ("unix:///run/redis.sock?db=2", "single", False, [], ""),
        ("redis+unix:///run/redis.sock", "single", False, [], ""),
        ("redis+sentinel://a,b:7/main/2", "sentinel", False, [("a", 26379), ("b", 7)], "main"),
        ("rediss+sentinel://a/main", "sentinel", True, [("a", 26379)], "main"),
        ("redis+cluster://a:1,b:2", "cluster", False, [("a", 1), ("b", 2)], ""),
        ("rediss+cluster://a", "cluster", True, [("a", 6379)], ""),
    ],
)
def test_a_url_says_where_and_how(
    url: str, kind: str, tls: bool, nodes: list[tuple[str, int]], service: str
) -> None:
    """Hosts, ports, encryption and what stands there; the port may be left out."""
    address = read_url(url)
    assert (address.kind, address.tls, list(address.nodes), address.service) == (
        kind,
        tls,
        nodes,
        service,
    )


@pytest.mark.parametrize(
    "url", ["redis://h:1/0", "rediss://h", "redis+sentinel://h/s", "rediss+cluster://a,b"]
)
def test_valkey_is_written_like_redis(url: str) -> None:
    """The same protocol, the same URLs; only the name in messages differs."""
    valkey = url.replace("redis", "valkey", 1)
    assert names_redis(valkey)
    read, other = read_url(url), read_url(valkey)
    assert (read.kind, read.tls, read.url, read.nodes) == (
        other.kind,
        other.tls,
        other.url,
        other.nodes,
    )


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://user:secret@host:port", "Port could not be cast"),
        ("redis://:secret", "Port could not be cast"),
        ("redis+sentinel://a:1,b:secret/main", "Port could not be cast"),
        ("redis://user:secret@host:99999", "Port out of range"),
        ("redis://user:secret@[::1", "Invalid IPv6"),
        ("redis://user:secret@a,b", "several hosts"),
        ("redis+sentinel://user:secret@a,b", "name of the service"),
        ("unix://", "path of the socket"),
        ("unix://user:secret@run/redis.sock", "third slash"),
        ("redis://user:secret@a/shop", "'shop' is no number"),
        ("redis+sentinel://user:secret@a/main/shop", "'shop' is no number"),
        ("redis+cluster://user:secret@a/3", "no database but 0"),
        ("redis+sentinels://user:secret@a", "scheme is not known"),
    ],
)
def test_a_url_that_means_nothing_is_refused_without_its_password(url: str, reason: str) -> None:
    """The message says what is wrong and shows URLs that work; it may end up in a log."""
    with pytest.raises(ConfigurationError, match=reason) as raised:
        read_url(url)
    assert "redis+cluster://" in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:secret@host/0?no_such_option=1",
        "redis://user:secret@host?max_connections=many",
        "rediss://user:secret@host?ssl_cert_reqs=CERT_NONE",
        "redis+cluster://user:secret@host?no_such_option=1",
        "redis+sentinel://user:secret@host/service?no_such_option=1",
    ],
)
def test_a_wrong_option_is_refused_where_it_is_written(url: str) -> None:
    """Not in the first request: no connection is needed to see it."""
    with pytest.raises(ConfigurationError, match="option of the URL is wrong") as raised:
        RedisStore(url)
    assert "secret" not in str(raised.value)


def test_a_store_is_called_by_its_url_without_credentials() -> None:
    """What is logged says where the store is, without the password."""
    assert str(RedisStore("redis://user:secret@cache:7000/3")) == "redis://cache:7000/3"
