"""Stores while processes are killed and stopped and files vanish, all of it under load.

Real processes that ask as fast as they are let. The bounds are what the documentation promises:
never over, at most one request lost for each kill, and back within a second.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.stores.fallback import FallbackStore
from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.opening import open_store
from flask_concurrency.stores.store import Check
from flask_concurrency.vocabulary.clock import monotonic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WORKERS = 4
BACK_WITHIN = 1.0
BUSY = 0.5
"""Seconds a machine that is busy with other tests may take on top."""
SEEN = struct.Struct("@QQQ")
"""What a worker reports of itself: requests, outages, and whether its store is out."""

Live = Callable[["Workers", FallbackStore, int], None]


class Workers:
    """Processes that share one host store, and a page on which each reports its state."""

    def __init__(self, directory: Path, live: Live) -> None:
        self._directory = directory
        self._live = live
        self.page = mmap.mmap(-1, 4_096)
        self.pids = [self._start(number) for number in range(WORKERS)]

    def store(self) -> FallbackStore:
        store = open_store(f"host://{self._directory}?max_keys=4096", namespace="chaos")
        assert isinstance(store, FallbackStore)
        return store

    def told(self) -> list[tuple[int, int, int]]:
        return [SEEN.unpack_from(self.page, number * SEEN.size) for number in range(WORKERS)]

    def go_on(self) -> bool:
        """Whether a worker shall ask once more."""
        return self.page[-1] == 0

    def kill(self, number: int) -> None:
        """Kill a worker, and start another one."""
        os.kill(self.pids[number], signal.SIGKILL)
        os.waitpid(self.pids[number], 0)
        self.pids[number] = self._start(number)

    def end(self) -> None:
        """Let all end by themselves."""
        self.page[-1] = 1
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.pids]
        self.pids = []
        assert codes == [0] * WORKERS

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave none behind, whatever failed."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _start(self, number: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            self._live(self, self.store(), number)
            code = 0
        finally:
            os._exit(code)

    def tell(self, number: int, requests: int, store: FallbackStore) -> None:
        health = store.snapshot()
        out = health.out_for is not None
        SEEN.pack_into(self.page, number * SEEN.size, requests, health.outages, out)


def until(condition: Callable[[], bool], within: float) -> float:
    """Wait for something that other processes do; returns how long it took."""
    started_at = monotonic()
    while not condition():
        assert monotonic() - started_at < within, "it did not happen in time"
        time.sleep(0.002)  # a foreign process cannot notify us
    return monotonic() - started_at


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "counts"


def test_counts_are_exact_while_processes_are_killed(directory: Path) -> None:
    """Never more than the quota is admitted, and each kill costs at most the request it met."""
    quota, kills = 6_000, 12
    checks = [
        Check("few", SlidingWindow(32, 86_400.0), "k", 1, shadow=True),
        Check("many", SlidingWindow(quota, 86_400.0), "k", 1),
    ]
    reading, writing = os.pipe()

    def live(workers: Workers, store: FallbackStore, number: int) -> None:
        while store.take(checks)[1].admitted:
            os.write(writing, b"!")

    with Workers(directory, live) as workers:
        chance = random.Random(11)
        admitted = 0
        for _ in range(kills):
            admitted += len(os.read(reading, chance.randrange(1, 300)))
            workers.kill(chance.randrange(WORKERS))
        os.close(writing)
        while more := os.read(reading, 65_536):
            admitted += len(more)
        os.close(reading)
        workers.end()
        assert quota - kills <= admitted <= quota


def test_a_stall_ends_with_the_stall(directory: Path) -> None:
    """A process that keeps a lock for more than a second turns the store off, and only so long."""
    check = Check("r", SlidingWindow(1_000_000, 3_600.0), "k", 1)

    def live(workers: Workers, store: FallbackStore, number: int) -> None:
        requests = 0
        while workers.go_on():
            store.take([check])
            requests += 1
            workers.tell(number, requests, store)

    with Workers(directory, live) as workers:
        until(lambda: all(requests > 100 for requests, _, _ in workers.told()), 20.0)
        assert all(outages == 0 for _, outages, _ in workers.told())

        stopped = workers.store().store
        assert isinstance(stopped, HostStore)
        stopped.probe()
        transactions = stopped._transactions
        assert transactions is not None
        shard = transactions._index.find(check.limiter_id, check.policy, check.key).shard

        def stall(_: None) -> None:
            until(lambda: all(out for _, _, out in workers.told()), 20.0)

        transactions.file.locks.locked([shard], stall, None)
        until(lambda: not any(out for _, _, out in workers.told()), BACK_WITHIN + BUSY)
        outages = [outages for _, outages, _ in workers.told()]
        assert max(outages) <= 2
        before = sum(requests for requests, _, _ in workers.told())
        until(lambda: sum(requests for requests, _, _ in workers.told()) > before + 4_000, 60.0)
        assert [outages for _, outages, _ in workers.told()] == outages, "it went out again"
        stopped.close()
        workers.end()


def removed(path: Path) -> None:
    path.unlink()


def cut_off(path: Path) -> None:
    os.truncate(path, 100)


@pytest.mark.parametrize("harm", [removed, cut_off])
def test_a_file_that_vanishes_costs_a_second(harm: Callable[[Path], None], directory: Path) -> None:
    """Requests that are inside are not known in the new file; afterwards there are eight again."""
    places, threads, stay = 8, 4, 0.05
    inside = Check("f", InFlightCount(places), "k", 1)
    first = WORKERS * SEEN.size

    def live(workers: Workers, store: FallbackStore, number: int) -> None:
        def visit(slot: int) -> None:
            while workers.go_on():
                if not store.take([inside])[0].admitted:
                    time.sleep(0.001)
                    continue
                entered_at = monotonic()
                workers.page[slot] = 1
                time.sleep(stay)
                workers.page[slot] = 0
                store.give_back([inside], after=monotonic() - entered_at)

        visitors = [
            threading.Thread(target=visit, args=(first + number * threads + thread,))
            for thread in range(threads)
        ]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()

    with Workers(directory, live) as workers:

        def most_inside(seconds: float) -> int:
            most, ends_at = 0, monotonic() + seconds
            while monotonic() < ends_at:
                most = max(most, sum(workers.page[first : first + WORKERS * threads]))
                time.sleep(0.0005)
            return most

        until(lambda: most_inside(0.1) == places, 20.0)
        (path,) = directory.iterdir()
        harm(path)
        most_inside(BACK_WITHIN + stay + BUSY)
        assert most_inside(2.5) == places
        workers.end()
