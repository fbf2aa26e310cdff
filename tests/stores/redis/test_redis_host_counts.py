"""What each host of a fleet has counted, on a real server."""

from __future__ import annotations

import pytest
from tests.stores.conftest import RedisServer, StartRedis

from flask_concurrency.stores.redis.host_counts import KEPT_FOR, HostCounts
from flask_concurrency.stores.redis.redis_store import RedisStore
from flask_concurrency.vocabulary.errors import StoreError, StoreUnavailable


@pytest.fixture
def counts(redis_server: RedisServer, namespace: str) -> HostCounts:
    """Those of one deployment."""
    return HostCounts(redis_server.url, namespace=namespace, timeout=5.0)


def test_a_host_takes_the_place_of_what_it_told_before(counts: HostCounts) -> None:
    """Any bytes."""
    assert counts.read() == {}
    counts.write("one", b"\x00\xff")
    counts.write("two", b"")
    counts.write("one", b"\r\n")
    assert counts.read() == {"one": b"\r\n", "two": b""}
    counts.close()


def test_a_host_that_is_silent_for_a_day_is_forgotten(
    redis_server: RedisServer, counts: HostCounts, namespace: str
) -> None:
    """When another one writes; until then nothing asks for less."""
    counts.write("gone", b"1")
    with redis_server.client() as client:
        written = f"{{flask-concurrency:{namespace}}}:2:counts:written"
        assert client.zincrby(written, -KEPT_FOR - 1, "gone") > 0
        assert 0 < client.ttl(written) <= KEPT_FOR
    counts.write("here", b"2")
    assert counts.read() == {"here": b"2"}
    counts.close()


def test_to_reset_all_limits_leaves_them(
    redis_server: RedisServer, counts: HostCounts, namespace: str
) -> None:
    """They are a history, and no limit."""
    counts.write("one", b"1")
    store = RedisStore(redis_server.url, namespace=namespace)
    store.clear()
    store.close()
    assert counts.read() == {"one": b"1"}
    counts.close()


def test_a_server_that_hangs_is_told_within_the_timeout(start_redis: StartRedis) -> None:
    """As of every store."""
    server = start_redis()
    counts = HostCounts(server.url, namespace="n", timeout=0.05)
    counts.write("one", b"1")
    server.freeze()
    with pytest.raises(StoreUnavailable):
        counts.write("one", b"2")
    with pytest.raises(StoreUnavailable):
        counts.read()
    counts.close()


def test_a_key_of_something_else_is_an_error(
    redis_server: RedisServer, counts: HostCounts, namespace: str
) -> None:
    """And stays as it is."""
    with redis_server.client() as client:
        client.set(f"{{flask-concurrency:{namespace}}}:2:counts", "a text")
    with pytest.raises(StoreError):
        counts.write("one", b"1")
    with pytest.raises(StoreError):
        counts.read()
    counts.close()
