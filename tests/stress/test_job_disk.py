"""Disks and servers in trouble: what is synchronised, a log that was cut, a file that is held."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.jobs.drill import HERE, Drill
from tests.stores.conftest import RedisServer

from flask_concurrency.jobs.opening import SQLITE
from flask_concurrency.vocabulary.errors import JobsUnavailable

pytestmark = pytest.mark.slow

EVERY = int(os.environ.get("JOB_CUT_EVERY", "97"))
"""Bytes between two cuts: 1 for the figures in the documentation."""
HELD = float(os.environ.get("JOB_HELD_SECONDS", "6"))
"""Seconds for which a file is held, or a server stands still: 30 for the documentation."""
JOBS = 100


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Drill]:
    """An environment on a file."""
    drill = Drill(f"sqlite:///{tmp_path / 'jobs.sqlite3'}", tmp_path)
    yield drill
    drill.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace counts the calls")
@pytest.mark.timeout(120)
def test_each_accepted_and_each_ended_job_is_synchronised(file: Drill) -> None:
    """8: the kernel is asked to write to the disk at least once for each, by its own count."""
    told = [file.url, file.app, "quick", JOBS, []]
    submitted = _synchronised(file, "drill_submitter.py", told)
    assert file.ledger.counts().queued == JOBS
    options = {"url": file.url, "app": file.app, "lease": 2.0, "processes": 1}
    options |= {"drain_timeout": 5.0, "burst": True}
    ended = _synchronised(file, "drill_worker.py", options)
    assert file.ledger.counts().queued == 0
    print(f"\n{JOBS} jobs: {submitted} fdatasync to accept them, {ended} to start and end them")
    assert submitted >= JOBS
    assert ended >= 2 * JOBS  # a claim, and an end


def _synchronised(drill: Drill, script: str, told: object) -> int:
    """Run a script of the drills to its end; how often it and its children wrote to the disk."""
    log = drill.home / f"{script}.calls"
    command = ["strace", "-f", "-qq", "-e", "trace=fdatasync,fsync", "-o", str(log)]
    command += [sys.executable, str(HERE / script), json.dumps(told)]
    environment = {**os.environ, "DRILL_SAYS": str(drill.says)}
    with (drill.home / "log").open("a") as said:
        subprocess.run(command, check=True, env=environment, stdout=said, stderr=said, timeout=100)
    return sum("sync(" in line for line in log.read_text().splitlines())


@pytest.mark.timeout(400)
def test_a_log_cut_at_any_byte_of_its_tail_is_whole(file: Drill) -> None:
    """8: each job whose commit is before the cut is there, and the file's own check passes."""
    path = Path(file.url.removeprefix(SQLITE))
    log = path.with_name(f"{path.name}-wal")
    kept = []
    for _ in range(4):
        id = file.submit("quick")
        kept.append((log.stat().st_size, id))
    whole, begin = log.read_bytes(), kept[-3][0]
    home = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else file.home
    cut = home / f"cut-{os.getpid()}.sqlite3"
    cut_log, cut_index = (cut.with_name(f"{cut.name}{end}") for end in ("-wal", "-shm"))
    cuts = 0
    try:
        for place in range(begin, len(whole) + 1, EVERY):
            shutil.copyfile(path, cut)
            cut_log.write_bytes(whole[:place])
            cut_index.unlink(missing_ok=True)
            connection = sqlite3.connect(cut)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            there = {id for (id,) in connection.execute("SELECT id FROM jobs")}
            connection.close()
            assert {id for size, id in kept if size <= place} <= there
            cuts += 1
    finally:
        for each in (cut, cut_log, cut_index):
            each.unlink(missing_ok=True)
    print(f"\nthe log cut at {cuts} places: 0 broken, 0 synchronised jobs missing")


@pytest.fixture(params=["sqlite", "redis"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Drill, RedisServer]]:
    """An environment, and the server it is on, if it is on one."""
    with RedisServer("--appendonly", "yes") as server:
        url = f"sqlite:///{tmp_path / 'jobs.sqlite3'}" if request.param == "sqlite" else server.url
        drill = Drill(url, tmp_path, app=f"drill-{os.getpid()}")
        yield drill, server
        drill.close()


@contextmanager
def out_of_reach(drill: Drill, server: RedisServer) -> Iterator[None]:
    """Hold the file as a foreign program could, or let the server stand still."""
    if drill.url == server.url:
        server.freeze()
        yield
        server.resume()
        return
    foreign = sqlite3.connect(drill.url.removeprefix(SQLITE), isolation_level=None, timeout=10)
    foreign.execute("BEGIN IMMEDIATE")
    yield
    foreign.execute("ROLLBACK")
    foreign.close()


@pytest.mark.timeout(HELD * 2 + 120)
def test_what_is_held_is_refused_in_time_and_goes_on_afterwards(
    held: tuple[Drill, RedisServer],
) -> None:
    """10: a submit is refused within five seconds, no worker ends, and all jobs do."""
    drill, server = held
    worker = drill.worker(2)
    running = drill.submit("hold", str(drill.home / "gate"))
    drill.started(running)
    waits = drill.submit("quick", delay=HELD / 2)
    refused_after = []
    with out_of_reach(drill, server):
        (drill.home / "gate").touch()  # it ends, and nobody can write that down
        until = time.monotonic() + HELD
        while time.monotonic() < until:
            asked_at = time.monotonic()
            with pytest.raises(JobsUnavailable):
                drill.submit("quick")
            refused_after.append(time.monotonic() - asked_at)
            threading.Event().wait(0.1)
        assert worker.poll() is None
    accepted = drill.submit("quick")
    for id in (running, waits, accepted):
        assert drill.ended(id).state.status == "succeeded"
    assert worker.poll() is None
    drill.assert_nothing_ran_in_silence()
    print(
        f"\n{drill.kind} held for {HELD:g} s: {len(refused_after)} submits refused, each within "
        f"{max(refused_after):.1f} s; 0 lost"
    )
    assert max(refused_after) < 10.0  # 5 s on a machine that does nothing else


def test_a_full_server_accepts_nothing_it_does_not_keep(tmp_path: Path) -> None:
    """9: a Redis without room refuses, keeps what was accepted, and goes on with room."""
    with RedisServer("--appendonly", "yes", "--maxmemory-policy", "noeviction") as server:
        drill = Drill(server.url, tmp_path)
        accepted = [drill.submit("quick", "x" * 10_000) for _ in range(5)]
        client = server.client()
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", used + 300_000)

        def fill() -> None:
            for _ in range(1_000):
                accepted.append(drill.submit("quick", "x" * 10_000))

        with pytest.raises(JobsUnavailable):
            fill()
        assert all(drill.ledger.get(id) for id in accepted)
        assert drill.ledger.counts().queued == len(accepted)
        client.config_set("maxmemory", 0)
        accepted.append(drill.submit("quick"))
        assert drill.ledger.counts().queued == len(accepted)
        client.close()
        drill.close()
