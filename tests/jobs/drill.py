"""An environment for drills: one ledger, real worker processes, and what their jobs reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from flask_concurrency.jobs.ledger import Capacity, Ledger
from flask_concurrency.jobs.opening import SQLITE, open_ledger
from flask_concurrency.jobs.record import JobRecord, new_record
from flask_concurrency.policies.job_state import JobRules

HERE = Path(__file__).parent
WITHIN = 30.0
T = TypeVar("T")


@dataclass(frozen=True)
class Said:
    """One line of a job."""

    event: str
    id: str
    attempt: int
    process: int


class Drill:
    """Ledger, workers and jobs of one drill.

    :param url: Where the jobs are kept.
    """

    def __init__(self, url: str, home: Path, *, app: str = "drill", lease: float = 2.0) -> None:
        self.url = url
        self.kind = "SQLite" if url.startswith(SQLITE) else "Redis"
        self.lease = lease
        self.home = home
        self.says = home / "says"
        self.says.touch()
        self.use_app(app)
        self._programs: list[subprocess.Popen[str]] = []

    def use_app(self, app: str) -> None:
        """Look at the jobs of an app; before there are any."""
        self.app = app
        self.ledger: Ledger = open_ledger(
            self.url, app=app, volatile=True, capacity=Capacity(None, None), lease=self.lease
        )

    def worker(
        self, processes: int = 1, *, drain_timeout: float = 5.0, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a worker, and wait until it is ready."""
        told = {
            "url": self.url,
            "app": self.app,
            "lease": self.lease,
            "processes": processes,
            "drain_timeout": drain_timeout,
            **options,
        }
        program = self.program("drill_worker.py", told)
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n", (self.home / "log").read_text()
        return program

    def program(self, script: str, told: object) -> subprocess.Popen[str]:
        """Start a script of this directory, which ends with the drill at the latest."""
        environment = {**os.environ, "DRILL_SAYS": str(self.says)}
        with (self.home / "log").open("a") as log:
            program = subprocess.Popen(
                [sys.executable, str(HERE / script), json.dumps(told)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        self._programs.append(program)
        return program

    def submit(self, name: str, *args: Any, rules: JobRules | None = None, **options: Any) -> str:
        """Submit a job; its id."""
        record = new_record(name, args, {}, max_arguments=65_536, rules=rules, **options)
        return self.ledger.insert(record)[0].id

    def get(self, id: str) -> JobRecord:
        """The record of a job, which must be there."""
        record = self.ledger.get(id)
        assert record is not None, f"{id} is lost"
        return record

    def ended(self, id: str, within: float = WITHIN) -> JobRecord:
        """Wait for the end of a job."""
        return self.until(lambda: found if (found := self.get(id)).state.done else None, within)

    def started(self, id: str, attempt: int = 1, within: float = WITHIN) -> Said:
        """Wait for the start of an attempt; what it said."""
        return self.until(
            lambda: next(
                (s for s in self.said(id) if s.event == "start" and s.attempt == attempt), None
            ),
            within,
        )

    def said(self, id: str | None = None) -> list[Said]:
        """What jobs said, or one of them."""
        lines = (line.split() for line in self.says.read_text().splitlines())
        found = [Said(event, job, int(n), int(process)) for event, job, n, process in lines]
        return [each for each in found if id in (None, each.id)]

    def starts(self, id: str) -> int:
        """How often a job has started."""
        return sum(each.event == "start" for each in self.said(id))

    def until(self, ask: Callable[[], T | None], within: float = WITHIN) -> T:
        """Poll until there is an answer: other processes do not notify us."""
        give_up_at = time.monotonic() + within
        while (answer := ask()) is None:
            if time.monotonic() > give_up_at:
                log = (self.home / "log").read_text()
                pytest.fail(f"not within {within} s:\n{log[-3000:]}\n{self.says.read_text()}")
            time.sleep(0.003)
        return answer

    def gone(self, processes: Sequence[int], within: float = 5.0) -> None:
        """Wait until none of some processes runs."""
        self.until(lambda: None if any(map(runs, processes)) else True, within)

    def assert_nothing_ran_in_silence(self) -> None:
        """Every start is in its record; none ends twice without a second attempt."""
        starts = Counter((s.id, s.attempt) for s in self.said() if s.event == "start")
        assert max(starts.values(), default=1) == 1, "one attempt started twice"
        for id, count in Counter(id for id, _ in starts).items():
            assert count <= self.get(id).state.attempt
        ends = Counter(s.id for s in self.said() if s.event == "end")
        for id, count in ends.items():
            assert count == 1 or self.get(id).state.attempt >= count

    def close(self) -> None:
        """End what is left."""
        for program in self._programs:
            if program.poll() is None:
                program.send_signal(signal.SIGCONT)
                program.kill()
            program.wait()
            if program.stdout is not None:
                program.stdout.close()
        self.ledger.close()


def runs(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"
