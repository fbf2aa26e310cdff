"""Redis that is slow, silent, cut off, nonsense or gone: the policy decides, and it comes back."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from flask import Flask
from tests.stores.conftest import RedisServer, find_port

from faulty_proxy import FaultyProxy
from flask_concurrency import Concurrency

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

TIMEOUT = 1.0
BACK_WITHIN = 15.0
"""Seconds; two of them are the longest pause between two tries, the rest is for a busy machine."""
LIMIT, ASKED = 5, 8
BY_POLICY = {
    "local": [200] * LIMIT + [429] * (ASKED - LIMIT),
    "admit": [200] * ASKED,
    "refuse": [503] * ASKED,
}
"""What ``ASKED`` requests of one client are answered, each by the word of the policy."""
NOT_RESP = [b":abc\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\r\n", b"-ERR no\r\n"]
WRONG_SHAPE = [
    *[b"+OK\r\n", b"$5\r\nhello\r\n", b"$-1\r\n", b"*0\r\n", b":1\r\n"],
    *[b"*3\r\n:1\r\n:1\r\n:0\r\n", b"*4\r\n" + b"$-1\r\n" * 4, b"*4\r\n" + b"*1\r\n:1\r\n" * 4],
]
"""Replies that any client library reads, and that no script of ours has sent."""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer(port=find_port()) as server:
        yield server


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[FaultyProxy]:
    with FaultyProxy(redis.port) as proxy:
        yield proxy


class Visitor:
    """One client of an app whose counts are behind the proxy."""

    def __init__(self, port: int, policy: str, namespace: str) -> None:
        app = Flask(__name__)
        app.config["CONCURRENCY_STORE"] = f"redis://127.0.0.1:{port}"
        app.config["CONCURRENCY_STORE_TIMEOUT"] = TIMEOUT
        app.config["CONCURRENCY_ON_STORE_FAILURE"] = policy
        app.config["CONCURRENCY_NAMESPACE"] = namespace
        app.config["PROPAGATE_EXCEPTIONS"] = False
        concurrency = Concurrency(app)
        app.get("/", endpoint="index")(concurrency.limit(f"{LIMIT}/hour")(lambda: "in"))
        self._numbers = itertools.count()
        self._client = app.test_client()
        self.store = app.extensions["concurrency"].store

    def asks(self, times: int = ASKED) -> list[int]:
        """The statuses of so many answers, none of which repeats a refusal from memory."""
        hosts = [f"http://{next(self._numbers)}.test" for _ in range(times)]
        return [self._client.get("/", base_url=host).status_code for host in hosts]

    def await_redis(self) -> None:
        """Poll until the store is back: the background thread that probes it notifies no test."""
        give_up_at = time.monotonic() + BACK_WITHIN
        while self.store.snapshot().out_for is not None:
            assert time.monotonic() < give_up_at, self.store.snapshot()
            time.sleep(0.01)


@pytest.fixture(params=BY_POLICY)
def policy(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def visitor(
    proxy: FaultyProxy, policy: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Visitor]:
    """A client that has been admitted once, by Redis."""
    namespace = f"faults-{abs(hash(request.node.name))}"
    visitor = Visitor(proxy.port, policy, namespace)
    assert visitor.asks(1) == [200]
    assert visitor.store.snapshot().errors == 0
    yield visitor
    visitor.store.close()


def survive(visitor: Visitor, proxy: FaultyProxy, policy: str) -> None:
    """Ask amid a fault, end it, and find in Redis what had been counted before it."""
    assert visitor.asks() == BY_POLICY[policy]
    assert visitor.store.snapshot().outages >= 1
    proxy.fault = "none"
    visitor.await_redis()
    assert visitor.asks(LIMIT) == [200] * (LIMIT - 1) + [429]


@pytest.mark.parametrize("policy", ["refuse"], indirect=True)
def test_a_delay_within_the_timeout_is_no_outage(visitor: Visitor, proxy: FaultyProxy) -> None:
    """Each call takes longer, and Redis goes on counting."""
    proxy.fault = "delay"
    assert visitor.asks() == [200] * (LIMIT - 1) + [429] * (ASKED - LIMIT + 1)
    assert visitor.store.snapshot().errors == 0


def test_a_black_hole_is_the_policys(visitor: Visitor, proxy: FaultyProxy, policy: str) -> None:
    """Commands go out and nothing comes back: one timeout, and from then on no request waits."""
    proxy.fault = "black hole"
    survive(visitor, proxy, policy)


def test_a_reset_amid_a_reply_is_the_policys(
    visitor: Visitor, proxy: FaultyProxy, policy: str
) -> None:
    """Half a reply is none. What Redis had counted by then, it has counted."""
    proxy.fault = "reset amid the reply"
    assert visitor.asks() == BY_POLICY[policy]
    proxy.fault = "none"
    visitor.await_redis()
    assert set(visitor.asks(LIMIT + 1)[LIMIT:]) == {429}


@pytest.mark.parametrize("reply", NOT_RESP)
def test_a_reply_that_is_none_is_the_policys(
    visitor: Visitor, proxy: FaultyProxy, policy: str, reply: bytes
) -> None:
    """Something else answers at that port, or the server refuses the script."""
    proxy.fault, proxy.reply = "reply", reply
    survive(visitor, proxy, policy)


@pytest.mark.parametrize("reply", WRONG_SHAPE)
def test_a_reply_of_the_wrong_shape_is_the_policys(
    visitor: Visitor, proxy: FaultyProxy, policy: str, reply: bytes
) -> None:
    """It can be read, and means nothing: no outage becomes an error of the app."""
    proxy.fault, proxy.reply = "reply", reply
    survive(visitor, proxy, policy)


def test_a_server_that_is_gone_for_a_while_is_the_policys(policy: str) -> None:
    """It comes back empty, and counts from nothing."""
    with RedisServer(port=find_port()) as redis:
        visitor = Visitor(redis.port, policy, "gone")
        try:
            assert visitor.asks(1) == [200]
            redis.kill()
            assert visitor.asks() == BY_POLICY[policy]
            redis.start()
            visitor.await_redis()
            assert visitor.asks(LIMIT + 1) == [200] * LIMIT + [429]
        finally:
            visitor.store.close()
