"""The Redis ledger in trouble: a server that forgets, is killed, or is not there; late workers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
from tests.jobs.conftest import worker_info
from tests.stores.conftest import RedisServer

from flask_concurrency.jobs.ledger import Outcome
from flask_concurrency.jobs.record import JobRecord, new_record
from flask_concurrency.jobs.redis_ledger import RedisLedger
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.errors import ConfigurationError, JobsUnavailable


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server of this file."""
    with RedisServer() as made:
        yield made


def submit(ledger: RedisLedger) -> JobRecord:
    """Submit a job."""
    return ledger.insert(new_record("report", [], {}, max_arguments=1_000))[0]


def test_a_server_that_forgets_is_refused(server: RedisServer) -> None:
    """Without a log on its disk, or with keys that it may remove; each with the remedy."""
    ledger = RedisLedger(server.url, app="forgets")
    with pytest.raises(ConfigurationError, match="Set 'appendonly yes'"):
        ledger.check()
    client = server.client()
    client.config_set("appendonly", "yes")
    try:
        ledger.check()
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(ConfigurationError, match=r"\(allkeys-lru\).*noeviction"):
            ledger.check()
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendonly", "no")
        client.close()
        ledger.close()


def test_a_server_that_is_not_there_accepts_nothing() -> None:
    """Every verb says so within its timeout."""
    ledger = RedisLedger("redis://127.0.0.1:1/0", app="none", timeout=0.2)
    for verb in (lambda: submit(ledger), lambda: ledger.get("x"), ledger.counts, ledger.rescue):
        with pytest.raises(JobsUnavailable):
            verb()
    ledger.close()


def test_a_lease_that_ended_gives_the_job_to_others(
    server: RedisServer, clock: ManualClock
) -> None:
    """21: by the server's clock; and the first worker's end is refused."""
    ledger = RedisLedger(server.url, app="leases", lease=6.0, clock=clock, volatile=True)
    ledger.join(worker_info("w1"))
    id = submit(ledger).id
    ledger.claim("w1", ["report"], 1)
    clock.advance(5.9)
    assert ledger.rescue() == []
    ledger._run("beat", "w1", "6.0", "")
    clock.advance(5.9)
    assert ledger.rescue() == []
    clock.advance(0.2)
    assert ledger.workers() == []
    ledger._run("beat", "w1", "6.0", "")  # too late: what has ended is not renewed
    (rescued,) = ledger.rescue()
    assert (rescued.id, rescued.state.status) == (id, "queued")
    (again,) = ledger.claim("w2", ["report"], 1)
    assert again.state.attempt == 2
    assert ledger.end(id, 1, Outcome("succeeded", result="1")) is None
    assert ledger.end(id, 2, Outcome("succeeded", result="2")) is not None
    ledger.close()


def test_a_message_that_comes_twice_starts_a_job_once(
    server: RedisServer, clock: ManualClock
) -> None:
    """21: an engine may deliver an id late, doubled, or while its job runs."""
    ledger = RedisLedger(server.url, app="twice", clock=clock, volatile=True)
    id = submit(ledger).id
    first = ledger.claim_one("w1", id)
    assert first is not None
    assert [ledger.claim_one("w2", id) for _ in range(20)] == [None] * 20
    ledger.end(id, 1, Outcome("succeeded", result="1"))
    assert ledger.claim_one("w2", id) is None
    ledger.close()


def test_changes_at_once_are_all_made(server: RedisServer) -> None:
    """Many claim the same job, and one has it; many report, and no version is given twice."""
    ledgers = [RedisLedger(server.url, app="race", volatile=True) for _ in range(8)]
    id = submit(ledgers[0]).id
    barrier, won = threading.Barrier(8), []

    def claim(ledger: RedisLedger, worker: str) -> None:
        barrier.wait()
        won.extend(ledger.claim(worker, ["report"], 1))

    threads = [
        threading.Thread(target=claim, args=(ledger, f"w{number}"))
        for number, ledger in enumerate(ledgers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert won[0].id == id
    for ledger in ledgers:
        ledger.close()


@pytest.mark.slow
def test_a_killed_server_with_a_log_loses_no_job() -> None:
    """21: SIGKILL of Redis with jobs that were accepted; started again, all are there."""
    with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server:
        ledger = RedisLedger(server.url, app="killed")
        ids = [submit(ledger).id for _ in range(50)]
        server.kill()
        with pytest.raises(JobsUnavailable):
            submit(ledger)
        server.start()
        assert all(ledger.get(id) for id in ids)
        assert ledger.counts().queued == 50
        ledger.close()


def test_a_worker_that_lost_a_race_claims_what_is_left(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one claims the same jobs between its look and its claim; there are more."""
    ledger, other = (RedisLedger(server.url, app="race", volatile=True) for _ in range(2))
    ledger.join(worker_info("w1"))
    other.join(worker_info("w2"))
    ids = [submit(ledger).id for _ in range(4)]
    look, taken = ledger._due, list[JobRecord]()

    def look_too_early(names: Sequence[str], limit: int) -> tuple[float, list[JobRecord]]:
        found = look(names, limit)
        if not taken:
            taken.extend(other.claim("w2", ["report"], 2))
        return found

    monkeypatch.setattr(ledger, "_due", look_too_early)
    claimed = ledger.claim("w1", ["report"], 2)
    assert [record.id for record in (*taken, *claimed)] == ids
    for name, each in (("w1", ledger), ("w2", other)):
        each.leave(name)
        each.close()
