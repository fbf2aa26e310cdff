"""Sentinels, a cluster and TLS: real ones, small."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.stores.fallback import FallbackStore
from flask_concurrency.stores.opening import open_store
from flask_concurrency.stores.redis.redis_store import RedisStore
from flask_concurrency.stores.store import Check

pytestmark = pytest.mark.slow

STAGE = [
    Check("rate", SlidingWindow(5, 60.0), "k", 1),
    Check("longer", SlidingWindow(5, 90.0), "k", 1),
    Check("inside", InFlightCount(5), "k", 1),
]
WITHIN = 30.0


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < give_up_at, "nothing changed"
        time.sleep(0.02)  # foreign processes notify no test


def cluster_of(start_redis: Any, free_port: Any, nodes: int) -> list[Any]:
    """Servers that share the slots evenly."""
    slots = [16_384 * number // nodes for number in range(nodes + 1)]
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port")
    bus = free_port()
    servers = [start_redis(*options, str(bus), port=free_port())]
    servers += [start_redis(*options, str(free_port()), port=free_port()) for _ in slots[2:]]
    for server, first, after in zip(servers, slots, slots[1:], strict=False):
        server.client().execute_command("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        server.client().execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port, bus)
    wait_until(lambda: all(map(_is_ok, servers)))
    return servers


def test_a_cluster_counts_a_stage_in_one_slot(start_redis: Any, free_port: Any) -> None:
    """Namespaces are spread over its nodes; the keys of one are together."""
    servers = cluster_of(start_redis, free_port, 3)
    url = f"redis+cluster://127.0.0.1:{servers[0].port},127.0.0.1:{servers[1].port}"
    for number in range(8):
        store = RedisStore(url, namespace=f"app {number}", timeout=5.0)
        assert [outcome.remaining for outcome in store.take(STAGE)] == [4, 4, 4]
        store.give_back(STAGE)
        assert [outcome.remaining for outcome in store.take(STAGE)] == [4, 4, 4]
        assert store.forget(STAGE) == 2
        store.take([STAGE[0]])
        assert [store.clear(), store.clear()] == [1, 0]
        store.close()
    homes = [
        sum(1 for _ in server.client().scan_iter("{flask-concurrency:*")) for server in servers
    ]
    assert sum(homes) == 8  # the permits'
    assert sum(1 for keys in homes if keys) >= 2


def test_a_cluster_whose_slot_moved_is_found_again(start_redis: Any, free_port: Any) -> None:
    """A resharding between two requests is no outage."""
    one, two = cluster_of(start_redis, free_port, 2)
    store = open_store(f"redis+cluster://127.0.0.1:{one.port}", timeout=5.0)
    assert isinstance(store, FallbackStore)
    store.take(STAGE)
    assert store.forget(STAGE[:2]) == 2
    store.give_back(STAGE)
    client = one.client()
    slot = client.execute_command("CLUSTER", "KEYSLOT", "{flask-concurrency:app}")
    ids = [server.client().execute_command("CLUSTER", "MYID") for server in (one, two)]
    source, target = (one, two) if slot < 8_192 else (two, one)
    for server in (target, source):
        new = ids[1] if target is two else ids[0]
        server.client().execute_command("CLUSTER", "SETSLOT", slot, "NODE", new)
    assert [outcome.remaining for outcome in store.take(STAGE)] == [4, 4, 4]
    assert store.snapshot().errors == 0
    store.close()


def test_sentinels_lead_to_the_new_master(start_redis: Any, free_port: Any, tmp_path: Path) -> None:
    """After a failover the next connection goes where the sentinels say."""
    master = start_redis(port=free_port())
    replica = start_redis("--replicaof", "127.0.0.1", str(master.port), port=free_port())
    wait_until(lambda: replica.client().info("replication")["master_link_status"] == "up")
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds main 300\n"
        "sentinel failover-timeout main 2000\n"
    )
    port = free_port()
    sentinel = subprocess.Popen(
        [master.program, str(configuration), "--sentinel", "--port", str(port)],
        stdout=subprocess.DEVNULL,
    )
    try:
        url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/main/0"
        store = open_store(url, timeout=1.0)
        assert isinstance(store, FallbackStore)
        wait_until(lambda: _answers(store))
        assert [outcome.remaining for outcome in store.take(STAGE)] == [4, 4, 4]
        wait_until(lambda: replica.client().dbsize() == 3)
        master.kill()
        assert all(outcome.admitted for outcome in store.take(STAGE))  # decided here
        wait_until(lambda: store.snapshot().out_for is None)
        assert [outcome.remaining for outcome in store.take(STAGE)] == [3, 3, 3]
        store.close()
        master.start()
    finally:
        sentinel.terminate()
        sentinel.wait()


def test_an_encrypted_connection(start_redis: Any, free_port: Any, tmp_path: Path) -> None:
    """The server's certificate is checked; one that is not known is an outage."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += " -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    port = free_port()
    start_redis(
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
    )
    trusted = open_store(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}", timeout=5.0)
    assert [outcome.remaining for outcome in trusted.take(STAGE)] == [4, 4, 4]
    assert [outcome.remaining for outcome in trusted.take(STAGE)] == [3, 3, 3]
    unknown = open_store(f"rediss://127.0.0.1:{port}/0", timeout=5.0)
    assert isinstance(unknown, FallbackStore)
    unknown.take(STAGE)
    assert "certificate" in unknown.snapshot().last_error.lower()
    for store in (trusted, unknown):
        store.close()


def _is_ok(server: Any) -> bool:
    return b"cluster_state:ok" in server.client().execute_command("CLUSTER", "INFO")


def _answers(store: FallbackStore) -> bool:
    store.take([])
    try:
        store.store.take([STAGE[0]._replace(cost=0)])
    except Exception:
        return False
    return True
