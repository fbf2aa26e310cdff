"""A storm: workers and submitters are killed while thousands of jobs are accepted and run."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from tests.jobs.drill import Drill

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("JOB_STORM_SECONDS", "4"))
"""120 for the figures in the documentation; a short one in CI."""


@pytest.mark.timeout(SECONDS * 3 + 120)
def test_a_storm_loses_no_job(drill: Drill) -> None:
    """5: each accepted job has one end; none started more often than its record shows."""
    accepted, kills = _storm(drill)
    _calm(drill)
    _judge(drill, accepted, kills)


def _storm(drill: Drill) -> tuple[list[str], int]:
    draw = random.Random(7)
    options = {"url": drill.url, "app": drill.app, "lease": drill.lease}
    options |= {"processes": 2, "drain_timeout": 1.0}
    workers = [drill.program("drill_worker.py", options) for _ in range(3)]
    submitters = [_submitter(drill) for _ in range(2)]
    drill.until(lambda: drill.said() or None)  # the first job runs
    accepted: list[str] = []
    kills, until = 0, time.monotonic() + SECONDS
    while time.monotonic() < until:
        time.sleep(draw.uniform(0.6, 2.0))
        kills += 1
        place = draw.randrange(3)
        workers[place].send_signal(signal.SIGKILL)
        workers[place] = drill.program("drill_worker.py", options)
        running = [s.process for s in drill.said()[-5:] if s.event == "start"]
        if running and draw.random() < 0.5:
            _kill(draw.choice(running))
        if draw.random() < 0.2:
            kills += 1
            submitters[0].kill()
            accepted += submitters[0].communicate()[0].split()
            submitters = [submitters[1], _submitter(drill)]
    for submitter in submitters:
        submitter.kill()
        accepted += submitter.communicate()[0].split()
    for worker in workers:
        worker.kill()
    return accepted, kills


def _submitter(drill: Drill):  # type: ignore[no-untyped-def] # a generic process
    return drill.program(
        "drill_submitter.py", [drill.url, drill.app, "work", 1_000_000, [5], 0.005]
    )


def _kill(process: int) -> None:
    try:
        command = Path(f"/proc/{process}/cmdline").read_bytes()
        if b"drill" in command or b"flask_concurrency" in command or b"python" in command:
            os.kill(process, signal.SIGKILL)
    except OSError:
        return


def _calm(drill: Drill) -> None:
    for _ in range(2):
        drill.worker(2)
    drill.until(
        lambda: True if (c := drill.ledger.counts()).queued == c.running == 0 else None,
        SECONDS * 2 + 60,
    )


def _judge(drill: Drill, accepted: list[str], kills: int) -> None:
    records = [drill.ledger.get(id) for id in accepted]
    lost = [id for id, record in zip(accepted, records, strict=True) if record is None]
    ended = [record for record in records if record is not None]
    rerun = [record for record in ended if record.state.attempt > 1]
    failed = [record for record in ended if record.state.status != "succeeded"]
    print(
        f"\n{drill.kind}, {SECONDS:g} s: {len(accepted)} accepted, {len(lost)} lost, "
        f"{kills} kills, {len(rerun)} rerun, {len(failed)} failed"
    )
    assert accepted
    assert not lost
    assert all(record.state.done for record in ended)
    # The budget for interruptions may be spent in a storm; then the record says so.
    assert all(record.error and record.error["type"] == "interrupted" for record in failed)
    drill.assert_nothing_ran_in_silence()
