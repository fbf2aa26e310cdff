"""Measure workers for jobs as programs: how soon a job starts and is back, and what idling costs.

Each measures whole: ``flask concurrency worker`` on a file and on a Redis server.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from benchmarks.benchmark import Trial
from benchmarks.tables.jobs import scratch
from benchmarks.tables.redis import RedisProcess

if TYPE_CHECKING:
    from flask_concurrency.jobs.ledger import Ledger
    from flask_concurrency.jobs.record import JobRecord

T = TypeVar("T")

APP = """
import os
import time

from flask import Flask

from flask_concurrency import Concurrency

app = Flask("shop")
app.testing = True  # the server keeps nothing on its disk
app.config["CONCURRENCY_JOBS"] = {"ledger": os.environ["LEDGER"], "lease": 2.0, "processes": 1}
concurrency = Concurrency(app)


@concurrency.job
def now():
    return time.time()


@concurrency.job
def hold_first():
    if concurrency.jobs.current.attempt == 1:
        time.sleep(1_000_000)
    return time.time()
"""
LEASE = 2.0
WITHIN = 60.0
STARTS, KILLS, IDLE = 200, 20, 20.0
FEW_STARTS, FEW_KILLS, SHORT_IDLE = 3, 1, 1.0
START_TARGET, RESCUE_TARGET, IDLE_TARGET = 0.025, 2.0, 0.01


class Shop:
    """An app whose jobs are in one ledger, and its workers.

    :param url: Where they are.
    """

    def __init__(self, url: str, home: Path) -> None:
        from flask_concurrency.jobs.opening import open_ledger

        (home / "shop.py").write_text(APP)
        self._home = home
        self._environment = {**os.environ, "LEDGER": url}
        self.ledger: Ledger = open_ledger(url, app="shop", volatile=True, lease=LEASE)
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_worker(self) -> None:
        """Start a worker, and wait until it runs jobs."""
        command = [sys.executable, "-m", "flask", "--app", "shop", "concurrency", "worker"]
        worker = subprocess.Popen(
            command,
            cwd=self._home,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.workers.append(worker)
        until(lambda: any(w.process == worker.pid for w in self.ledger.workers()) or None)

    def submit(self, name: str) -> str:
        """Submit a job; its id."""
        from flask_concurrency.jobs.record import new_record

        return self.ledger.insert(new_record(name, [], {}, max_arguments=1_000))[0].id

    def get(self, id: str) -> JobRecord:
        """A job."""
        found = self.ledger.get(id)
        assert found is not None, "lost"
        return found

    def returned(self, id: str) -> float:
        """Wait for what a job returns."""
        record = until(lambda: found if (found := self.get(id)).state.done else None)
        assert record.result is not None, record.error
        value: float = json.loads(record.result)["value"]
        return value

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait()
        self.ledger.close()


def until(ask: Callable[[], T | None]) -> T:
    """Ask until there is an answer."""
    give_up_at = time.monotonic() + WITHIN
    while (answer := ask()) is None:
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {WITHIN:g} s")
        time.sleep(0.005)
    return answer


@contextmanager
def shops() -> Iterator[dict[str, Shop]]:
    """The app, with its jobs in a file and on a server."""
    with ExitStack() as stack:
        home = stack.enter_context(scratch())
        server = stack.enter_context(RedisProcess())
        found = {}
        for name, url in (("SQLite", f"sqlite:///{home}/jobs.sqlite3"), ("Redis", server.url)):
            (home / name).mkdir()
            found[name] = Shop(url, home / name)
            stack.callback(found[name].close)
        yield found


def start(quick: bool) -> list[list[str]]:
    """From the call of ``submit`` to the first line of the function, one job after the other."""
    rows = [["", "jobs", "p50 ms", "p95 ms", "most ms", "target", "reached"]]
    draw = random.Random(7)
    with shops() as found:
        for name, shop in found.items():
            shop.start_worker()
            shop.returned(shop.submit("now"))
            took = []
            for _ in range(FEW_STARTS if quick else STARTS):
                time.sleep(draw.uniform(0.0, 0.1))  # in no step with the worker's looks
                begun_at = time.time()
                took.append(shop.returned(shop.submit("now")) - begun_at)
            rows.append([name, str(len(took)), *_spread(took, 1e3, START_TARGET)])
    return rows


def rescue(quick: bool) -> list[list[str]]:
    """From SIGKILL of a worker to the first line of its job's second attempt, on another worker."""
    rows = [["", "kills", "p50 s", "p95 s", "most s", "target", "reached"]]
    with shops() as found:
        for name, shop in found.items():
            for _ in range(2):
                shop.start_worker()
            took = []
            for _ in range(FEW_KILLS if quick else KILLS):
                id = shop.submit("hold_first")
                took.append(_killed(shop, id))
                shop.start_worker()
            target = RESCUE_TARGET + (0.0 if name == "SQLite" else LEASE)
            rows.append([name, str(len(took)), *_spread(took, 1.0, target)])
    return rows


def _killed(shop: Shop, id: str) -> float:
    """Kill the worker of a job; seconds until the job runs again."""
    until(lambda: shop.get(id).worker)
    time.sleep(0.2)  # so that its function runs
    of_job = shop.get(id).worker
    (info,) = (each for each in shop.ledger.workers() if each.id == of_job)
    (worker,) = (each for each in shop.workers if each.pid == info.process)
    killed_at = time.time()
    worker.kill()
    shop.workers.remove(worker)
    worker.wait()
    return shop.returned(id) - killed_at


def idle(quick: bool) -> list[list[str]]:
    """What a worker without a job takes of one core, its process for jobs included."""
    rows = [["", "seconds", "of a core", "target", "reached"]]
    seconds = SHORT_IDLE if quick else IDLE
    with shops() as found:
        for name, shop in found.items():
            shop.start_worker()
            shop.returned(shop.submit("now"))
            (worker,) = shop.workers
            time.sleep(1.0)
            before, begun_at = _processor_time(worker.pid), time.monotonic()
            time.sleep(seconds)
            share = (_processor_time(worker.pid) - before) / (time.monotonic() - begun_at)
            reached = "yes" if share <= IDLE_TARGET else "no"
            target = f"≤ {IDLE_TARGET:.0%}"
            rows.append([name, f"{seconds:g}", f"{share:.2%}", target, reached])
    return rows


def _processor_time(process: int) -> float:
    """Seconds of a processor that a process and all it has started have taken."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        number = int(path.parts[2])
        parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    family = {process}
    while more := {each for each, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks.get(each, 0) for each in family) / os.sysconf("SC_CLK_TCK")


def _spread(seconds: list[float], factor: float, target: float) -> list[str]:
    p50, most = statistics.median(seconds), max(seconds)
    p95 = statistics.quantiles(seconds, n=20)[-1] if len(seconds) > 1 else most
    told = [f"{each * factor:.2f}" for each in (p50, p95, most)]
    return [*told, f"≤ {target * factor:g}", "yes" if p50 <= target else "no"]


BENCHMARKS = ()
TRIALS = (
    Trial("job-start", "submit to the function's first line, a worker waiting", start),
    Trial("job-rescue", "SIGKILL of a worker to its job's next start", rescue),
    Trial("job-idle", "a worker without a job, of one core", idle),
)
