"""A worker that waits for a Redis server in trouble: it looks by itself, and can be stopped."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path

import pytest
from redis import Redis
from tests.jobs.conftest import Run
from tests.jobs.drill import Drill
from tests.jobs.waiting_worker import NEVER, WITHIN, submit
from tests.stores.conftest import RedisServer

from flask_concurrency.jobs import redis_wakes
from flask_concurrency.jobs.ledger import Filter, Outcome
from flask_concurrency.jobs.record import new_record
from flask_concurrency.jobs.redis_ledger import RedisLedger
from flask_concurrency.vocabulary.errors import ConfigurationError, JobsUnavailable

STREAM = "{shop}:jobs:wakes"


def free_port() -> int:
    """A port on which no server listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def waits(client: Redis) -> None:
    """Return once the server has a client that waits."""
    while not any("b" in each["flags"] for each in client.client_list()):
        threading.Event().wait(0.005)  # the server does not tell


def test_a_wake_that_is_lost_costs_no_job(server: RedisServer, run: Run) -> None:
    """A user of the server may not write it: the job is kept, and started at the next look."""
    client = server.client()
    client.execute_command("ACL SETUSER default -xadd")
    running = run(server.url, poll=None)
    id = submit(server.url)
    assert running.begun.get(timeout=WITHIN).id == id
    assert not client.exists(STREAM)
    client.close()


def test_a_worker_that_may_not_wait_looks_and_says_so_once(
    server: RedisServer, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """What it lacks is in the log, once."""
    client = server.client()
    client.execute_command("ACL SETUSER default -xread")
    client.close()
    running = run(server.url, poll=None)
    for _ in range(2):
        id = submit(server.url)
        assert running.begun.get(timeout=WITHIN).id == id
    assert running.stop()
    (told,) = [r.message for r in caplog.records if "not woken" in r.message]
    assert "xread" in told


def test_only_what_a_worker_acts_on_wakes_it(server: RedisServer) -> None:
    """Its own claims and ends do not; and one entry is kept, however many there were."""
    client, ledger = server.client(), RedisLedger(server.url, app="shop", volatile=True)
    ids = [submit(server.url) for _ in range(3)]
    before = client.xinfo_stream(STREAM)["last-generated-id"]
    ledger.claim("w1", ["report"], 3)
    for id in ids:
        ledger.end(id, 1, Outcome("succeeded", result="1"))
    found = client.xinfo_stream(STREAM)
    assert (found["last-generated-id"], found["length"]) == (before, 1)
    ledger.close()
    client.close()


def test_the_rights_that_the_page_names_are_enough(
    server: RedisServer, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """A user with them alone submits, is woken, runs, cancels, lists; nothing is in the log."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "jobs-on-several-machines.md"
    (line,) = (each for each in page.read_text("utf-8").splitlines() if "ACL SETUSER" in each)
    client = server.client()
    client.execute_command(*line.split())
    client.close()
    url = server.url.replace("unix://", "unix://shop:password@")
    running = run(url)
    id = submit(url)
    assert running.begun.get(timeout=WITHIN).id == id
    ledger = running.ledger
    waits = ledger.insert(new_record("other", [], {}, max_arguments=1_000, key="once", owner="me"))
    for again in (ledger.cancel, ledger.retry, ledger.cancel):
        assert again(waits[0].id) is not None
    ledger.find(Filter(owner="me"))
    ledger.rescue()
    ledger.purge(10)
    assert ledger.counts().running == 1
    assert len(ledger.workers()) == 1
    with pytest.raises(ConfigurationError, match="appendonly"):
        RedisLedger(url, app="shop").check()
    assert [r.message for r in caplog.records if r.levelname != "INFO"] == []


@pytest.mark.slow
def test_a_worker_is_woken_again_after_its_server_was_killed(server: RedisServer, run: Run) -> None:
    """A server is killed while a worker waits for it, and started again, empty."""
    running = run(server.url)
    submit(server.url)
    running.begun.get(timeout=WITHIN)
    client = server.client()
    waits(client)
    client.close()
    server.kill()
    with pytest.raises(JobsUnavailable):
        submit(server.url)
    server.start()
    id = submit(server.url)
    assert running.begun.get(timeout=WITHIN).id == id


@pytest.mark.parametrize(
    "frozen",
    [
        pytest.param(False, id="answers"),
        pytest.param(True, id="stands-still", marks=pytest.mark.slow),
    ],
)
def test_told_to_stop_a_worker_waits_no_longer(
    server: RedisServer, run: Run, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    """However long it would have waited, and whether or not its server answers."""
    monkeypatch.setattr(redis_wakes, "WAIT", NEVER)
    running = run(server.url)
    client = server.client()
    waits(client)
    client.close()
    if frozen:
        server.freeze()
    assert running.stop()
    server.resume()


@pytest.mark.slow
def test_in_a_cluster_workers_are_woken(run: Run) -> None:
    """What wakes them is in the slot of all that is the app's."""
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with RedisServer(*options, port=free_port()) as server:
        client = server.client()
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            threading.Event().wait(0.005)  # the server does not tell
        url = f"redis+cluster://127.0.0.1:{server.port}"
        running = run(url)
        for _ in range(2):
            id = submit(url)
            assert running.begun.get(timeout=WITHIN).id == id
        waits(client)
        assert running.stop()
        client.close()


@pytest.mark.slow
def test_sigterm_ends_a_worker_that_waits(server: RedisServer, tmp_path: Path) -> None:
    """As a program, too, while its server stands still."""
    drill = Drill(server.url, tmp_path)
    worker = drill.worker()
    drill.ended(drill.submit("quick"))
    server.freeze()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(WITHIN) == 0
    server.resume()
    drill.close()
