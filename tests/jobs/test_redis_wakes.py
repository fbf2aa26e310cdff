"""A worker that waits for a Redis server is woken, or looks by itself, and can be stopped."""

from __future__ import annotations

import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from redis import Redis
from tests.jobs.drill import Drill
from tests.stores.conftest import RedisServer

from flask_concurrency.jobs import redis_wakes
from flask_concurrency.jobs.ledger import Filter, Outcome
from flask_concurrency.jobs.record import JobRecord, new_record
from flask_concurrency.jobs.redis_ledger import RedisLedger
from flask_concurrency.jobs.worker import Worker
from flask_concurrency.vocabulary.errors import ConfigurationError, JobsUnavailable

NEVER = 3_600.0
"""Seconds for which no worker of a test looks by itself."""
WITHIN = 30.0
STREAM = "{shop}:jobs:wakes"


class Running:
    """A worker on a thread of its own; its attempts run until they are cancelled.

    :param poll: Seconds between two looks of its own.
    """

    def __init__(self, url: str, *, poll: float | None = NEVER) -> None:
        self.ledger = RedisLedger(url, app="shop", volatile=True, timeout=0.5)
        self.begun: queue.Queue[JobRecord] = queue.Queue()
        self.attempts: queue.Queue[Future[Outcome]] = queue.Queue()
        self.worker = Worker(
            self.ledger, self._begin, ["report"], processes=2, poll=poll, drain_timeout=0.0
        )
        self._thread = threading.Thread(target=self.worker.run)
        self._thread.start()

    def _begin(self, record: JobRecord, worker: str) -> Future[Outcome]:
        self.begun.put(record)
        attempt = Future[Outcome]()
        self.attempts.put(attempt)
        return attempt

    def waits(self, client: Redis) -> None:
        """Return once the server has a client that waits."""
        pause = threading.Event()
        while not any("b" in each["flags"] for each in client.client_list()):
            pause.wait(0.005)  # the server does not tell

    def stop(self) -> bool:
        """Stop the worker; whether it came to its end."""
        self.worker.stop()
        self._thread.join(WITHIN)
        self.ledger.close()
        return not self._thread.is_alive()


Run = Callable[..., Running]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start workers that are stopped with the test."""
    made: list[Running] = []

    def start(url: str, **options: float | None) -> Running:
        made.append(Running(url, **options))
        return made[-1]

    yield start
    for each in made:
        assert each.stop()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server of this test."""
    with RedisServer() as made:
        yield made


def free_port() -> int:
    """A port on which no server listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def submit(url: str) -> str:
    """Submit a job as another process would; its id."""
    ledger = RedisLedger(url, app="shop", volatile=True)
    try:
        return ledger.insert(new_record("report", [], {}, max_arguments=1_000))[0].id
    finally:
        ledger.close()


def test_a_submit_wakes_a_worker(server: RedisServer, run: Run) -> None:
    """It starts a job though it would not look by itself; the first one, and those after it."""
    running = run(server.url)
    for _ in range(2):
        id = submit(server.url)
        assert running.begun.get(timeout=WITHIN).id == id


def test_a_cancellation_wakes_a_worker(server: RedisServer, run: Run) -> None:
    """The attempt is ended, though its worker would not look by itself."""
    running = run(server.url)
    id = submit(server.url)
    attempt = running.attempts.get(timeout=WITHIN)
    cancelled = threading.Event()
    attempt.add_done_callback(lambda _: cancelled.set())
    running.ledger.cancel(id)
    assert cancelled.wait(WITHIN)


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
    running.waits(client)
    client.close()
    server.kill()
    with pytest.raises(JobsUnavailable):
        submit(server.url)
    server.start()
    id = submit(server.url)
    assert running.begun.get(timeout=WITHIN).id == id


@pytest.mark.parametrize("frozen", [False, True], ids=["answers", "stands-still"])
def test_told_to_stop_a_worker_waits_no_longer(
    server: RedisServer, run: Run, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    """However long it would have waited, and whether or not its server answers."""
    monkeypatch.setattr(redis_wakes, "WAIT", NEVER)
    running = run(server.url)
    client = server.client()
    running.waits(client)
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
        running.waits(client)
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
