"""Many kills: of submitters, of a server's processes, of jobs, of workers; and a long stop.

Short in CI. The figures of the documentation are printed by the commands there, with more of each.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import statistics
import time
from collections import Counter
from collections.abc import Callable

import pytest
import requests
from tests.jobs.drill import Drill

from flask_concurrency.jobs.ledger import Filter
from flask_concurrency.jobs.opening import SQLITE
from flask_concurrency.policies.job_state import JobRules

pytestmark = pytest.mark.slow

SUBMITTERS = int(os.environ.get("JOB_SUBMITTER_KILLS", "10"))
"""1,000 for the figures in the documentation."""
SERVERS = int(os.environ.get("JOB_SERVER_KILLS", "2"))
"""200 for the figures in the documentation."""
KILLS = int(os.environ.get("JOB_KILLS", "4"))
"""100 for the figures in the documentation."""
WORKERS = int(os.environ.get("JOB_WORKER_KILLS", "2"))
"""30 for the figures in the documentation."""
STOPPED = float(os.environ.get("JOB_STOP_SECONDS", "3"))
"""Seconds for which a worker is stopped: 60 for the figures in the documentation."""


@pytest.mark.timeout(SUBMITTERS + 60)
def test_killed_submitters_lose_nothing_they_were_told(drill: Drill) -> None:
    """1: killed directly after ``submit`` returned, and so in the midst of the next one."""
    draw = random.Random(7)
    accepted: list[str] = []
    for _ in range(SUBMITTERS):
        accepted += _told_until_killed(drill, draw)
    found = [drill.ledger.get(id) for id in accepted]
    lost = sum(record is None for record in found)
    kept = drill.ledger.counts().queued
    print(
        f"\n{drill.kind}: {SUBMITTERS} submitters killed, {len(accepted)} accepted, {lost} lost, "
        f"{kept - len(accepted)} kept that the submitter did not live to tell"
    )
    assert lost == 0
    assert len(set(accepted)) == len(accepted) >= SUBMITTERS
    assert len(accepted) <= kept <= len(accepted) + SUBMITTERS
    if drill.url.startswith(SQLITE):
        connection = sqlite3.connect(drill.url.removeprefix(SQLITE))
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


def _told_until_killed(drill: Drill, draw: random.Random) -> list[str]:
    """Fork a process that submits and tells; kill it once it has told of its first job."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            while True:
                os.write(writing, f"{drill.submit('quick')}\n".encode())
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as told:
        first = told.readline()
        time.sleep(draw.uniform(0.0, 0.001))  # as far into the next one
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        return [first.strip(), *told.read().split()]


@pytest.mark.timeout(SERVERS * 3 + 120)
def test_a_client_that_repeats_finds_its_job(
    drill: Drill, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """2: the process of a server is killed between commit and 202; one key makes one job."""
    monkeypatch.setenv("JOB_SHOP_LEDGER", drill.url)
    drill.use_app("job_shop")
    url = serve("tests/apps/job_shop", "gunicorn-gthread", workers=2)
    asked = Counter[str]()
    for number in range(SERVERS):
        fields = {"Idempotency-Key": f"key-{number}", "X-Die": "yes"}
        while (status := _post(url, number, fields)) != "202 replayed":
            asked[status] += 1
            assert asked.total() < SERVERS * 10
            fields.pop("X-Die", None)
    print(
        f"\n{drill.kind}: {asked['killed']} processes of the server killed after the commit, "
        f"{drill.ledger.counts().queued} jobs of {SERVERS} keys"
    )
    assert asked["killed"] >= SERVERS
    assert set(asked) == {"killed"}
    keys = Counter(record.key for record in drill.ledger.find(Filter(limit=10 * SERVERS)))
    assert keys == {f"key-{number}": 1 for number in range(SERVERS)}


def _post(url: str, year: int, fields: dict[str, str]) -> str:
    try:
        answer = requests.post(f"{url}/reports", json={"year": year}, headers=fields, timeout=20)
    except requests.ConnectionError:
        return "killed"
    replayed = " replayed" if "Idempotency-Replayed" in answer.headers else ""
    return f"{answer.status_code}{replayed}"


@pytest.mark.timeout(KILLS * 10 + 60)
def test_each_killed_process_costs_its_job_one_attempt(drill: Drill) -> None:
    """3: every job starts again and ends; a neighbour of the same worker runs on untouched."""
    back = []
    worker = drill.worker(2)
    neighbour = drill.submit("hold", str(drill.home / "gate"))
    drill.started(neighbour)
    for _ in range(KILLS):
        id = drill.submit("first_time_hold", str(drill.home / "never"))
        process = drill.started(id).process
        killed_at = time.monotonic()
        os.kill(process, signal.SIGKILL)
        drill.started(id, attempt=2)
        back.append(time.monotonic() - killed_at)
        record = drill.ended(id)
        assert [attempt.how for attempt in record.attempts] == ["interrupted", "succeeded"]
    assert worker.poll() is None
    (drill.home / "gate").touch()
    assert drill.ended(neighbour).state.attempt == 1
    drill.assert_nothing_ran_in_silence()
    print(
        f"\n{drill.kind}: {KILLS} kills of the process of a job, 0 lost; back after "
        f"{statistics.median(back):.2f} s, at most {max(back):.2f} s"
    )
    assert statistics.median(back) < 10.0  # 2 s on a machine that does nothing else


@pytest.mark.timeout(WORKERS * 20 + 60)
def test_each_killed_worker_costs_its_jobs_one_attempt(drill: Drill) -> None:
    """4: another worker has them at once, or once the lease is over where there is no lock."""
    back = []
    workers = [drill.worker(), drill.worker()]
    for _ in range(WORKERS):
        id = drill.submit("first_time_hold", str(drill.home / "never"))
        drill.started(id)
        of_job = drill.get(id).worker
        (info,) = [each for each in drill.ledger.workers() if each.id == of_job]
        (killed,) = [each for each in workers if each.pid == info.process]
        killed_at = time.monotonic()
        killed.kill()
        drill.started(id, attempt=2)
        back.append(time.monotonic() - killed_at)
        record = drill.ended(id)
        assert [attempt.how for attempt in record.attempts] == ["interrupted", "succeeded"]
        workers.remove(killed)
        workers.append(drill.worker())
    drill.assert_nothing_ran_in_silence()
    lease = "" if drill.url.startswith(SQLITE) else f" with a lease of {drill.lease:g} s"
    print(
        f"\n{drill.kind}: {WORKERS} kills of a worker, 0 lost; back after "
        f"{statistics.median(back):.2f} s, at most {max(back):.2f} s{lease}"
    )
    assert statistics.median(back) < 10.0  # 2 s on a machine that does nothing else


@pytest.mark.timeout(120)
def test_poison_is_bounded_each_time(drill: Drill) -> None:
    """7: jobs that kill their process start exactly as often as they may; the worker lives on."""
    worker = drill.worker(2)
    ids = [drill.submit("poison", rules=JobRules(interruptions=n % 3)) for n in range(12)]
    for number, id in enumerate(ids):
        assert drill.ended(id).state.status == "failed"
        assert drill.starts(id) == 1 + number % 3
    assert worker.poll() is None


@pytest.mark.timeout(STOPPED * 2 + 60)
def test_a_stopped_worker(drill: Drill) -> None:
    """6: a kernel knows that it lives, and no other worker starts its job a second time.

    Where there is a lease, it ends and the job starts once more; what the first attempt says when
    its worker goes on does not count.
    """
    attempts = 1 if drill.url.startswith(SQLITE) else 2
    stopped = drill.worker()
    id = drill.submit("hold", str(drill.home / "gate"))
    drill.started(id)
    stopped.send_signal(signal.SIGSTOP)
    drill.worker(2)
    drill.started(id, attempts)
    until, others = time.monotonic() + STOPPED, 0
    while time.monotonic() < until:
        drill.ended(drill.submit("work", 300))
        others += 1
        assert drill.starts(id) == attempts
    (drill.home / "gate").touch()
    if attempts == 2:
        drill.ended(id)
    stopped.send_signal(signal.SIGCONT)
    record = drill.ended(id)
    assert (record.state.status, record.state.attempt) == ("succeeded", attempts)
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(20) == 0
    assert drill.get(id) == record
    drill.assert_nothing_ran_in_silence()
    print(
        f"\n{drill.kind}: a worker stopped for {STOPPED:g} s, starts of its job: {attempts}, ends "
        f"that count: 1; another worker ran {others} jobs"
    )
