"""Many kills of the process that runs a job, and a worker that is stopped for long."""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path

import pytest
from tests.jobs.drill import Drill

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("JOB_KILLS", "10"))
"""100 for the figures in the documentation; fewer in CI."""
STOPPED = float(os.environ.get("JOB_STOP_SECONDS", "5"))
"""Seconds for which a worker is stopped: 60 for the figures in the documentation."""


@pytest.mark.timeout(KILLS * 10 + 60)
def test_each_killed_process_costs_its_job_one_attempt(tmp_path: Path) -> None:
    """3: every job starts again and ends; a neighbour of the same worker runs on untouched."""
    drill = Drill(f"sqlite:///{tmp_path / 'jobs.sqlite3'}", tmp_path)
    back = []
    try:
        worker = drill.worker(2)
        neighbour = drill.submit("hold", str(tmp_path / "gate"))
        drill.started(neighbour)
        for _ in range(KILLS):
            id = drill.submit("first_time_hold", str(tmp_path / "never"))
            process = drill.started(id).process
            killed_at = time.monotonic()
            os.kill(process, signal.SIGKILL)
            drill.started(id, attempt=2)
            back.append(time.monotonic() - killed_at)
            record = drill.ended(id)
            assert [attempt.how for attempt in record.attempts] == ["interrupted", "succeeded"]
        assert worker.poll() is None
        (tmp_path / "gate").touch()
        assert drill.ended(neighbour).state.attempt == 1
        drill.assert_nothing_ran_in_silence()
    finally:
        drill.close()
    print(
        f"\n{KILLS} kills, 0 lost; back after {statistics.median(back):.2f} s, "
        f"at most {max(back):.2f} s"
    )
    assert statistics.median(back) < 10.0  # 2 s on a machine that does nothing else


@pytest.mark.timeout(STOPPED * 2 + 60)
def test_a_stopped_worker_is_not_taken_for_dead(tmp_path: Path) -> None:
    """6: however long it stands still, no other worker starts its job a second time."""
    drill = Drill(f"sqlite:///{tmp_path / 'jobs.sqlite3'}", tmp_path)
    try:
        stopped = drill.worker()
        id = drill.submit("hold", str(tmp_path / "gate"))
        drill.started(id)
        stopped.send_signal(signal.SIGSTOP)
        drill.worker()
        until, others = time.monotonic() + STOPPED, 0
        while time.monotonic() < until:
            drill.ended(drill.submit("work", 300))
            others += 1
            assert drill.starts(id) == 1
        stopped.send_signal(signal.SIGCONT)
        (tmp_path / "gate").touch()
        record = drill.ended(id)
        assert (record.state.status, record.state.attempt) == ("succeeded", 1)
    finally:
        drill.close()
    print(f"\nstopped for {STOPPED:g} s: 1 start, while another worker ran {others} jobs")
