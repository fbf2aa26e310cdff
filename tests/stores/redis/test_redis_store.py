"""What only the Redis store promises: one command a take, leases, nothing left behind."""

from __future__ import annotations

import os
from typing import Any

import pytest
from redis.exceptions import NoScriptError

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.stores.redis.client import SCANNED, ScriptClient
from flask_concurrency.stores.redis.redis_store import RedisStore
from flask_concurrency.stores.redis.scripts import script_for
from flask_concurrency.stores.redis.url import read_url
from flask_concurrency.stores.store import Check, CheckTemplates
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.errors import ConfigurationError, StoreError, StoreUnavailable

RATES = (
    Check("sliding", SlidingWindow(5, 60.0), "k", 1),
    Check("fixed", FixedWindow(5, 60.0), "k", 1),
    Check("longer", SlidingWindow(5, 90.0), "k", 1),
    Check("bucket", TokenBucket(5, 60.0, 5), "k", 1),
)
PATIENT = 30.0
"""Seconds a call may take on a machine that is busy with other tests."""
INSIDE = Check("inside", InFlightCount(3), "k", 1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(redis_server: Any, namespace: str, clock: ManualClock) -> Any:
    store = RedisStore(redis_server.url, namespace=namespace, timeout=PATIENT, clock=clock)
    yield store
    store.close()


@pytest.fixture
def server_time(redis_server: Any, namespace: str) -> Any:
    """A store that takes the time from the server, as it does in production."""
    store = RedisStore(redis_server.url, namespace=namespace, timeout=PATIENT)
    yield store
    store.close()


def commands(client: Any) -> dict[str, int]:
    """How often each command was called by clients; scripts' own calls do not count."""
    inner = {
        "get",
        "psetex",
        "time",
        "zadd",
        "zrem",
        "zscore",
        "zincrby",
        "zrange",
        "del",
        "exists",
    }
    inner |= {"zrangebyscore", "zremrangebyscore", "pttl", "pexpire"}
    inner |= {"info", "config|resetstat"}  # what the test itself asks
    found = {
        name.removeprefix("cmdstat_"): row for name, row in client.info("commandstats").items()
    }
    return {name: row["calls"] for name, row in found.items() if name not in inner}


def test_a_take_of_any_limits_is_one_command(redis_server: Any, server_time: RedisStore) -> None:
    """Four limits or five, admitted or refused: the server counts one EVALSHA each."""
    server_time.take([*RATES, INSIDE])
    client = redis_server.client()
    client.config_resetstat()
    for _ in range(9):
        server_time.take([*RATES, INSIDE])
    assert commands(client) == {"evalsha": 9}


ALIKE = CheckTemplates(tuple((id_, policy, cost, False) for id_, policy, _, cost, _ in RATES))


def test_limits_that_ask_alike_are_one_command(redis_server: Any, server_time: RedisStore) -> None:
    """Admitted or refused: the server counts one EVALSHA each, and nothing else."""
    server_time.take_for("k", ALIKE)
    client = redis_server.client()
    client.config_resetstat()
    admitted = [all(o.admitted for o in server_time.take_for("k", ALIKE)) for _ in range(9)]
    assert commands(client) == {"evalsha": 9}
    assert admitted == [True] * 4 + [False] * 5


@pytest.mark.parametrize("shadow", [False, True])
def test_limits_that_ask_alike_answer_like_memory(
    shadow: bool, store: RedisStore, clock: ManualClock
) -> None:
    """Whatever their policies say: admitted, refused, only looked at, only reported."""
    memory = MemoryStore(clock=clock)
    stages = [
        ALIKE,
        *(
            CheckTemplates(tuple((*each[:2], cost, shadow) for each in ALIKE.each[:2]))
            for cost in (0, 2)
        ),
    ]
    for step in range(60):
        clock.advance(7.5)
        key, templates = "ab"[step % 2], stages[step % 3]
        told, expected = store.take_for(key, templates), memory.take_for(key, templates)
        for one, other in zip(told, expected, strict=True):
            assert one[:2] == other[:2]
            assert one[2:] == pytest.approx(other[2:], abs=2e-6)


def test_limits_that_ask_alike_count_where_others_do(store: RedisStore) -> None:
    """A limit is one count, however it is asked, and of whatever key."""
    for key in ("k", "", "\ud800", "k" * 1_000):
        store.take_for(key, ALIKE)
        looks = [check._replace(cost=0) for check in ALIKE.of(key)]
        assert [outcome.remaining for outcome in store.take(looks)] == [4, 4, 4, 4]


def test_a_forgotten_script_is_sent_again_for_limits_that_ask_alike(
    redis_server: Any, store: RedisStore
) -> None:
    """A server that was restarted, or told to forget, counts the request once."""
    store.take_for("k", ALIKE)
    redis_server.client().script_flush()
    assert store.take_for("k", ALIKE)[0].remaining == 3
    assert store.take_for("k", ALIKE)[0].remaining == 2


def test_a_connection_that_broke_is_replaced_for_limits_that_ask_alike(
    redis_server: Any, store: RedisStore
) -> None:
    """The server may have left between two requests."""
    store.take_for("k", ALIKE)
    client = redis_server.client()
    for each in client.client_list():
        if each["name"] == "flask-concurrency":
            client.client_kill_filter(_id=each["id"])
    assert store.take_for("k", ALIKE)[0].remaining == 3


def test_a_foreign_value_is_told_by_limits_that_ask_alike(
    redis_server: Any, store: RedisStore
) -> None:
    """And nothing is counted of the others."""
    check = ALIKE.of("k")[2]
    client = redis_server.client()
    client.lpush(store._names.of(check, "s"), "x")
    with pytest.raises(StoreError, match="holds something under a key of ours"):
        store.take_for("k", ALIKE)
    client.delete(store._names.of(check, "s"))
    assert [outcome.remaining for outcome in store.take_for("k", ALIKE)] == [4, 4, 4, 4]


def test_giving_back_is_one_command(redis_server: Any, store: RedisStore) -> None:
    """However many permits and units return."""
    store.take([*RATES, INSIDE])
    store.give_back([*RATES, INSIDE])
    store.take([*RATES, INSIDE])
    client = redis_server.client()
    client.config_resetstat()
    store.give_back([*RATES, INSIDE])
    assert commands(client) == {"evalsha": 1}


def test_every_key_expires(redis_server: Any, namespace: str, server_time: RedisStore) -> None:
    """Limits that were changed, and clients that never come again, leave nothing behind."""
    server_time.take([*RATES, INSIDE])
    client = redis_server.client()
    keys = list(client.scan_iter(f"*{namespace}*"))
    assert len(keys) == 5
    for key in keys:
        assert 0 < client.pttl(key) <= 2 * 60_000 + 1_000, key


def test_what_is_returned_whole_leaves_no_key(
    redis_server: Any, namespace: str, store: RedisStore
) -> None:
    """A permit's key is there while a request is inside; a window's while a unit is in it."""
    checks = [INSIDE, RATES[2], INSIDE._replace(cost=2)]
    store.take(checks)
    store.give_back(checks)
    assert list(redis_server.client().scan_iter(f"*{namespace}*")) == []


STRANGE = [
    b"OK",
    None,
    [],
    [1, 0, 0],
    [1, 4, 0, 0, 0],
    ["1", 4, 0, 0],
    [1, None, 0, 0],
    [[1, 4, 0, 0]],
    {b"a": 1},
    True,
    [1.5, 4, 0, 0],
]


@pytest.mark.parametrize("reply", STRANGE, ids=repr)
def test_an_answer_of_another_shape_is_an_outage(
    reply: object, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something else listens there; the policy for outages decides, and the message shows it."""
    monkeypatch.setattr(store._scripts, "run", lambda *arguments: reply)
    with pytest.raises(StoreUnavailable, match="is no Redis: it answered"):
        store.take([RATES[0]])


def test_a_probe_believes_no_server_that_says_ok_to_everything(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be back with each probe and out with each request."""
    store.probe()
    monkeypatch.setattr(store._scripts, "_call", lambda *command: b"OK")
    with pytest.raises(StoreUnavailable, match="is no Redis"):
        store.probe()
    with pytest.raises(StoreUnavailable, match="is no Redis"):
        store.forget([RATES[0]])


@pytest.mark.parametrize("seconds", [30.0, 3_600.0, 1e6])
def test_a_clock_that_is_set_back_exhausts_no_count_for_long(
    seconds: float, clock: ManualClock, store: RedisStore
) -> None:
    """At most two periods, or two leases for what a dead process held; waits stay in the period."""
    clock.now = 2e6
    store.take([check._replace(cost=5) for check in RATES])
    store.take([INSIDE._replace(cost=3)])
    clock.now -= seconds
    for check in (*RATES, INSIDE):
        (outcome,) = store.take([check])
        assert outcome.retry_after is None or outcome.retry_after <= 90.0
        assert outcome.reset_after is None or outcome.reset_after <= 90.0
    started_at = clock.now
    while clock.now < started_at + 2 * 90.0:
        clock.advance(5.0)
        store.take([INSIDE._replace(cost=4)])  # is refused, and so shortens the lease
    for check in (*RATES, INSIDE):
        assert store.take([check])[0].admitted, check


def test_a_clock_that_is_set_back_a_little_forgets_nothing(
    clock: ManualClock, store: RedisStore
) -> None:
    """Corrections of a second happen every day."""
    clock.now = 2e6
    store.take([check._replace(cost=4) for check in RATES[:3]])
    clock.now -= 1.0
    for check in RATES[:3]:
        assert [store.take([check])[0].admitted for _ in range(2)] == [True, False]


def test_a_forgotten_script_is_sent_again(redis_server: Any, store: RedisStore) -> None:
    """After SCRIPT FLUSH, a restart or a failover a take succeeds as if nothing had been."""
    store.take(RATES)
    redis_server.client().script_flush()
    assert [outcome.remaining for outcome in store.take(RATES)] == [3, 3, 3, 3]


def test_permits_of_a_dead_process_come_back_after_one_lease(
    redis_server: Any, namespace: str, clock: ManualClock, store: RedisStore
) -> None:
    """No process renews them, so the server lets them expire."""
    dead = RedisStore(
        redis_server.url, namespace=namespace, timeout=PATIENT, lease=15.0, clock=clock
    )
    for _ in range(3):
        dead.take([INSIDE])
    clock.advance(14.9)
    assert not store.take([INSIDE])[0].admitted
    clock.advance(0.1)
    assert store.take([INSIDE])[0].remaining == 2
    dead.close()


def test_a_renewed_permit_stays(clock: ManualClock, store: RedisStore) -> None:
    """However long a request takes, its permit counts while its process lives."""
    store.take([INSIDE])
    for _ in range(10):
        clock.advance(10.0)
        store.renew()
    assert store.take([INSIDE])[0].remaining == 1


def test_a_permit_the_server_lost_is_entered_again(
    redis_server: Any, namespace: str, clock: ManualClock, store: RedisStore
) -> None:
    """A server that started empty gets the permits that are held with the next renewal."""
    store.take([INSIDE._replace(cost=2)])
    client = redis_server.client()
    client.delete(*client.scan_iter(f"*{namespace}*"))
    store.renew()
    assert store.take([INSIDE._replace(cost=0)])[0].remaining == 1


def test_a_permit_returned_while_it_is_renewed_is_not_entered_again(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewal looks again after itself, so no permit is stuck for a lease."""
    store.take([INSIDE])
    held = store._leases.held()
    store.give_back([INSIDE])
    store._renew(held)
    assert store.take([INSIDE])[0].remaining == 2


def test_a_permit_that_lapsed_can_be_given_back(clock: ManualClock, store: RedisStore) -> None:
    """Another request may hold it by then; nothing is counted twice."""
    store.take([INSIDE])
    clock.advance(20.0)
    for _ in range(3):
        store.take([INSIDE])
    store.give_back([INSIDE])
    assert not [store.take([INSIDE])[0] for _ in range(2)][1].admitted


def test_two_units_are_one_lease(clock: ManualClock, store: RedisStore) -> None:
    """A cost is counted while its lease lasts, and leaves as a whole."""
    assert store.take([INSIDE._replace(cost=2)])[0].remaining == 1
    clock.advance(10.0)
    assert store.take([INSIDE])[0].remaining == 0
    clock.advance(5.0)
    assert store.take([INSIDE._replace(cost=0)])[0].remaining == 2


def test_the_server_s_clock_counts(redis_server: Any, namespace: str) -> None:
    """Whichever client asks, whatever its own clock says: a window has one beginning."""
    one, two = (
        RedisStore(redis_server.url, namespace=namespace, timeout=PATIENT) for _ in range(2)
    )
    first = one.take([RATES[1]])[0]
    second = two.take([RATES[1]])[0]
    assert (first.remaining, second.remaining) == (4, 3)
    assert first.reset_after == 60.0
    assert second.reset_after is not None
    assert 55.0 < second.reset_after < 60.0


def test_forgetting_spares_permits(store: RedisStore) -> None:
    """Counts of rates are reset; permits stay held."""
    store.take([*RATES, INSIDE])
    assert store.forget([*RATES, INSIDE]) == 4
    assert [outcome.remaining for outcome in store.take([*RATES, INSIDE])] == [4, 4, 4, 4, 1]
    assert store.forget([INSIDE]) == 0


def test_clearing_spares_permits_and_other_namespaces(
    redis_server: Any, namespace: str, store: RedisStore
) -> None:
    """More keys than one command looks at, and a neighbour whose name begins alike."""
    neighbour = RedisStore(redis_server.url, namespace=f"{namespace}0", timeout=PATIENT)
    neighbour.take([*RATES, INSIDE])
    many = [RATES[0]._replace(key=str(number)) for number in range(2 * SCANNED)]
    store.take([*RATES, *many, INSIDE])
    assert store.clear() == len(RATES) + len(many)
    assert [outcome.remaining for outcome in store.take([*RATES, INSIDE])] == [4, 4, 4, 4, 1]
    assert neighbour.take([RATES[0]])[0].remaining == 3
    neighbour.close()


@pytest.mark.parametrize("name", ["[a-z]*", "*", "?", "a\\", "{}", "ключ", ""])
def test_odd_namespaces_are_cleared(name: str, redis_server: Any, namespace: str) -> None:
    """A name that looks like a pattern stands for itself."""
    store, other = (
        RedisStore(redis_server.url, namespace=f"{namespace}{end}", timeout=PATIENT)
        for end in (name, "x")
    )
    store.take([RATES[0]])
    other.take([RATES[0]])
    assert [store.clear(), store.clear(), other.clear()] == [1, 0, 1]


@pytest.mark.parametrize("check", [*RATES, INSIDE], ids=lambda check: check.limiter_id)
@pytest.mark.parametrize("kind", ["hash", "list", "set", "string", "zset"])
def test_a_foreign_value_is_reported_and_not_touched(
    kind: str, check: Check, redis_server: Any, namespace: str, store: RedisStore
) -> None:
    """Another type, or another content, under a key of ours: an error that names the key."""
    client = redis_server.client()
    store.take([check])
    (key,) = client.scan_iter(f"*{namespace}*")
    client.delete(key)
    write = {
        "hash": lambda: client.hset(key, "field", "value"),
        "list": lambda: client.rpush(key, "value"),
        "set": lambda: client.sadd(key, "value"),
        "string": lambda: client.set(key, "not three numbers"),
        "zset": lambda: client.zadd(key, {"value": 1.0}),
    }
    write[kind]()
    before = client.dump(key)
    with pytest.raises(StoreError, match="Remove the key") as raised:
        store.take([*RATES, check])
    assert not isinstance(raised.value, StoreUnavailable)
    assert client.dump(key) == before


def test_a_foreign_value_spends_nothing_of_the_others(
    redis_server: Any, namespace: str, store: RedisStore
) -> None:
    """All keys are read before the first is written."""
    client = redis_server.client()
    store.take([INSIDE])
    (key,) = client.scan_iter(f"*{namespace}*")
    client.delete(key)
    client.set(key, "foreign")
    with pytest.raises(StoreError):
        store.take([*RATES, INSIDE])
    client.delete(key)
    assert [outcome.remaining for outcome in store.take(RATES)] == [4, 4, 4, 4]


def test_nothing_is_lost_to_rounding(store: RedisStore, clock: ManualClock) -> None:
    """The largest quota, over two hundred years, counts by one, and the wait is exact."""
    policy = FixedWindow(10**9, 200 * 365 * 86_400.0)
    check = Check("large", policy, "k", 10**9 - 1)
    assert store.take([check])[0].remaining == 1
    assert store.take([check._replace(cost=1)])[0].remaining == 0
    clock.advance(0.000_001)
    assert store.take([check._replace(cost=1)])[0].retry_after == policy.period - 0.000_001


def test_a_wait_longer_than_redis_can_tell_is_still_long(store: RedisStore) -> None:
    """No client comes back after three hundred years, so no longer wait is sent."""
    check = Check("slow", TokenBucket(1, 1_000 * 365 * 86_400.0, 10**9), "k", 10**9)
    store.take([check])
    assert store.take([check])[0].retry_after == 9e9


def test_a_policy_without_a_script_is_refused(store: RedisStore) -> None:
    """A policy from outside the library cannot run on the server."""

    class Strange(FixedWindow):
        pass

    with pytest.raises(ConfigurationError, match="no script"):
        store.take([Check("strange", Strange(1, 1.0), "k", 1)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_has_connections_and_permits_of_its_own(
    store: RedisStore, clock: ManualClock
) -> None:
    """It neither talks on its parent's connection nor returns its parent's permits."""
    store.take([INSIDE])
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b"?"
        try:
            store.give_back([INSIDE])
            outcomes = [store.take([INSIDE])[0] for _ in range(5)]
            answer = bytes(outcome.remaining for outcome in outcomes)
            store.give_back([INSIDE])
        finally:
            os.write(write, answer)
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == bytes([1, 0, 0, 0, 0])
    os.close(read)
    os.close(write)
    assert store.take([INSIDE])[0].remaining == 0
    assert len(store._leases.held()) == 2


def test_clients_are_named(redis_server: Any, store: RedisStore) -> None:
    """An administrator of the server sees who is connected."""
    store.take(RATES)
    assert "flask-concurrency" in {row["name"] for row in redis_server.client().client_list()}


def test_a_closed_store_opens_again(store: RedisStore) -> None:
    """Closing closes connections; the counts are on the server."""
    store.take(RATES)
    store.close()
    assert [outcome.remaining for outcome in store.take(RATES)] == [3, 3, 3, 3]


def test_no_command_holds_a_number_that_is_not_text() -> None:
    """Where a signal's handler raises while hiredis 3.5 packs an int, the process dies."""
    client = ScriptClient(read_url("redis://127.0.0.1:1"), timeout=1.0)
    sent: list[tuple[object, ...]] = []

    def call(*command: object) -> list[int]:
        sent.append(command)
        if command[0] == "EVALSHA":
            raise NoScriptError
        return [1]

    client._call = call  # type: ignore[assignment]
    assert client.run(script_for("take", "s"), ["key"], ["1", b"2"]) == [1]
    assert [command[0] for command in sent] == ["EVALSHA", "EVAL"]
    assert all(isinstance(each, str | bytes) for command in sent for each in command)
