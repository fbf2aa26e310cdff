"""Servers that are down, hang, are full, read-only or another service: no error, no long wait.

Real servers; the bounds are generous because the machine may be busy, the numbers of attempts are
not.
"""

from __future__ import annotations

import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.policy import Policy
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.stores.fallback import FallbackStore
from flask_concurrency.stores.opening import open_store
from flask_concurrency.stores.redis.host_counts import KEPT_FOR, HostCounts
from flask_concurrency.stores.redis.redis_store import RedisStore
from flask_concurrency.stores.store import Check

pytestmark = pytest.mark.slow

RATE = Check("rate", SlidingWindow(5, 60.0), "k", 1)
INSIDE = Check("inside", InFlightCount(3), "k", 1)
TIMEOUT = 0.5
SLACK = 2.0
"""Seconds a busy machine may take on top; a wait that is not bounded would be for ever."""
RECOVERS_WITHIN = 20.0


@contextmanager
def opened(url: str) -> Iterator[FallbackStore]:
    """The store as an app opens it."""
    store = open_store(url, timeout=TIMEOUT)
    assert isinstance(store, FallbackStore)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Fail if what is done inside takes longer."""
    started_at = time.monotonic()
    yield
    assert time.monotonic() - started_at < seconds


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + RECOVERS_WITHIN
    while not condition():
        assert time.monotonic() < give_up_at, "nothing changed"
        time.sleep(0.01)  # a foreign process notifies no test


def is_back(store: FallbackStore) -> bool:
    return store.snapshot().out_for is None


def spent(store: FallbackStore) -> int:
    return 5 - store.store.take([RATE._replace(cost=0)])[0].remaining


def test_a_server_that_is_killed_and_started_again(
    start_redis: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Every request is answered; one line says that it went, one that it is back."""
    server = start_redis()
    with opened(server.url) as store, caplog.at_level(logging.WARNING, "flask_concurrency.store"):
        store.take([RATE, INSIDE])
        server.kill()
        with bounded(SLACK):
            for _ in range(20):
                store.take([RATE])
            store.give_back([INSIDE])
        assert store.snapshot().outages == 1
        server.start()
        wait_until(lambda: is_back(store))
        assert spent(store) == 0  # it started empty
        assert store.take([RATE])[0].remaining == 4
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "is of no use" in lines[0]
    assert "is back" in lines[1]


def test_a_restart_between_two_requests_is_no_outage(start_redis: Any) -> None:
    """The connections in the pool are dead by then; they are replaced unnoticed."""
    server = start_redis()
    with opened(server.url) as store:
        store.take([RATE])
        server.kill()
        server.start()
        assert store.take([RATE])[0].remaining == 4
        assert store.snapshot().errors == 0


def test_a_server_that_hangs_costs_each_waiting_request_one_timeout(start_redis: Any) -> None:
    """Eight at once wait side by side, a request that comes later does not wait at all."""
    server = start_redis()
    with opened(server.url) as store:
        store.take([RATE])
        server.freeze()
        barrier = threading.Barrier(8)

        def ask() -> None:
            barrier.wait()
            store.take([RATE])

        threads = [threading.Thread(target=ask) for _ in range(8)]
        with bounded(TIMEOUT + SLACK):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        errors = store.snapshot().errors
        assert 1 <= errors <= 8
        with bounded(SLACK):
            for _ in range(1_000):
                store.take([RATE])
        assert store.snapshot().errors == errors
        server.resume()
        wait_until(lambda: is_back(store))


def test_a_black_hole_is_given_up_in_time() -> None:
    """A host that takes connections and never says a word."""
    with (
        socket.create_server(("127.0.0.1", 0)) as hole,
        opened(f"redis://127.0.0.1:{hole.getsockname()[1]}") as store,
        bounded(TIMEOUT + SLACK),
    ):
        assert store.take([RATE])[0].remaining == 4
        assert "Timeout" in store.snapshot().last_error


def test_a_server_that_drips_shares_one_deadline() -> None:
    """Every reply comes within the timeout, all together do not: the call ends in time."""
    stop = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            while not stop.is_set() and connection.recv(4_096):
                stop.wait(0.75 * TIMEOUT)
                try:
                    connection.sendall(b"+OK\r\n")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        store = RedisStore(f"redis://127.0.0.1:{server.getsockname()[1]}/3", timeout=TIMEOUT)
        started_at = time.monotonic()
        with pytest.raises(Exception, match="Timeout"):
            store.take([RATE])
        # Name, library, version, database and script: five replies would be four timeouts.
        assert time.monotonic() - started_at < 2.5 * TIMEOUT
        stop.set()
        thread.join()


@pytest.mark.parametrize("pause", [0.02, 0.1])
def test_an_answer_in_single_bytes_takes_no_longer_than_the_timeout(pause: float) -> None:
    """The time is for the whole call, however many reads it takes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"redis://127.0.0.1:{listening.getsockname()[1]}"
        talking = threading.Thread(target=trickle, args=(listening, pause), daemon=True)
        talking.start()
        with opened(address) as store, bounded(TIMEOUT + SLACK):
            store.take([RATE])
            assert store.snapshot().outages == 1
    talking.join()


def trickle(listening: socket.socket, pause: float) -> None:
    """Answer all that is asked with a text of ten thousand bytes, one after the other."""
    with suppress(OSError):
        connection, _ = listening.accept()
        with connection:
            connection.recv(1_000)
            for byte in b"$10000\r\n" + b"x" * 10_000:
                connection.sendall(bytes([byte]))
                time.sleep(pause)


def test_a_full_server_is_an_outage_until_there_is_room(start_redis: Any) -> None:
    """It answers, but takes no writes."""
    server = start_redis("--maxmemory-policy", "noeviction")
    client = server.client()
    with opened(server.url) as store:
        store.take([RATE, INSIDE])
        client.config_set("maxmemory", "1")
        store.give_back([INSIDE])  # giving back needs no room
        assert store.snapshot().errors == 0
        assert store.take([RATE])[0].remaining == 4
        assert "maxmemory" in store.snapshot().last_error
        client.config_set("maxmemory", "0")
        wait_until(lambda: is_back(store))
        assert spent(store) == 1


def test_a_replica_is_an_outage_until_it_is_promoted(start_redis: Any, free_port: Any) -> None:
    """It can be read, but counting is writing."""
    master = start_redis(port=free_port())
    replica = start_redis()
    with opened(replica.url) as store:
        store.take([RATE])
        replica.client().replicaof("127.0.0.1", master.port)
        assert store.take([RATE])[0].remaining == 4
        assert store.snapshot().outages == 1
        replica.client().replicaof("NO", "ONE")
        wait_until(lambda: is_back(store))
        assert store.take([RATE])[0].admitted


def test_a_wrong_password_is_an_outage_until_it_is_right(start_redis: Any) -> None:
    """A mistake in the configuration of a running server must not be a 500."""
    server = start_redis("--requirepass", "right")
    with opened(server.url.replace("unix://", "unix://:wrong@")) as store:
        assert store.take([RATE])[0].admitted
        health = store.snapshot()
        assert health.outages == 1
        assert "wrong" not in health.last_error
        server.client(password="right").config_set("requirepass", "wrong")
        wait_until(lambda: is_back(store))
        assert store.take([RATE])[0].remaining == 4


def test_an_unknown_host_is_an_outage() -> None:
    """The name may be known again in a minute."""
    with opened("redis://no-such-host.invalid") as store:
        assert store.take([RATE])[0].admitted
        assert store.snapshot().outages == 1


def test_permits_held_through_an_outage_are_returned(start_redis: Any) -> None:
    """Taken before, given back meanwhile: the server gets them when it is back."""
    server = start_redis()
    with opened(server.url) as store:
        store.take([INSIDE])
        server.freeze()
        store.take([RATE])
        store.give_back([INSIDE])
        server.resume()
        wait_until(lambda: is_back(store))
        other = RedisStore(server.url)
        wait_until(lambda: other.take([INSIDE._replace(cost=0)])[0].remaining == 3)
        other.close()


HOLD_TWO = """
import signal, sys
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.stores.redis.redis_store import RedisStore
from flask_concurrency.stores.store import Check
RedisStore(sys.argv[1], lease=1.0).take([Check("inside", InFlightCount(3), "k", 2)])
print("held", flush=True)
signal.pause()
"""


def test_permits_of_a_killed_worker_are_back_within_one_lease(start_redis: Any) -> None:
    """They are renewed while it lives, longer than a lease, and not a moment after."""
    server = start_redis()
    worker = subprocess.Popen(
        [sys.executable, "-c", HOLD_TWO, server.url], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "held\n"
    watching = RedisStore(server.url, lease=1.0)

    def inside() -> int:
        return 3 - watching.take([INSIDE._replace(cost=0)])[0].remaining

    lives_until = time.monotonic() + 2.5  # two and a half leases
    while time.monotonic() < lives_until:
        assert inside() == 2
        time.sleep(0.05)
    worker.kill()
    worker.wait()
    worker.stdout.close()
    with bounded(1.0 + SLACK):
        wait_until(lambda: inside() == 0)
    watching.close()


def test_the_rights_on_the_page_are_enough_and_none_is_too_many(start_redis: Any) -> None:
    """A user with exactly what ``docs/how-to/redis.md`` grants can do all that the store does."""
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "redis.md").read_text()
    (granted,) = re.findall(r"^ACL SETUSER (\S+) on >(\S+) (.+)$", page, re.MULTILINE)
    user, password, rights = granted
    server = start_redis()
    server.client().execute_command("ACL", "SETUSER", user, "on", f">{password}", *rights.split())
    url = server.url.replace("unix://", f"unix://{user}:{password}@") + "?db=1"
    store = RedisStore(url, timeout=20.0)
    policies: list[Policy] = [FixedWindow(5, 60.0), TokenBucket(5, 60.0, 5)]
    stage = [RATE, INSIDE, *(Check(repr(policy), policy, "k", 1) for policy in policies)]
    store.take(stage)
    store.renew()
    store.give_back(stage)
    store.take([check._replace(cost=6) for check in stage])
    assert store.forget(stage) == 2  # the sliding window was empty again
    store.take([RATE])
    assert store.clear() == 1
    store.probe()
    store.close()
    counts = HostCounts(url, namespace="shop", timeout=20.0)
    counts.write("host", b"1")
    written = "{flask-concurrency:shop}:2:counts:written"
    server.client(db=1).zincrby(written, -KEPT_FOR - 1, "host")
    counts.write("other", b"2")
    assert counts.read() == {"other": b"2"}
    counts.close()
    used = server.client().info("commandstats")
    needed = {name.removeprefix("cmdstat_") for name in used} - {
        "info",
        "acl|setuser",
        "auth",
        "hello",
        "zincrby",
    }
    assert needed <= {right.removeprefix("+") for right in rights.split()}
