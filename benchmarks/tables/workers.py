"""Measure what worker processes take: memory while idle, time to replace one, time to kill one.

All have an app loaded. Each call measures by itself, because what counts begins at a deadline or
at a death, and memory is no time at all.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject
from benchmarks.loaded_app import app, app_name, die, hang
from benchmarks.other_processes import children_of, parent_of, proportional_memory, wait_until_gone
from benchmarks.server_process import ask
from benchmarks.wsgi_call import WrongAnswer

if TYPE_CHECKING:
    from flask_concurrency.executors.processes import ProcessExecutor

T = TypeVar("T")

IDLE = "ours, an idle worker"
WHOLE_POOL = "ours, forkserver included"
GUNICORN, PRELOADED = "gunicorn, a forked worker", "gunicorn --preload"
OURS, PEBBLE, STDLIB = "ours", "Pebble", "standard library: a new pool"
OURS_GONE, PEBBLE_GONE = "ours, process gone", "Pebble, process gone"
OURS_TOLD, PEBBLE_TOLD = "ours, caller told", "Pebble, caller told"

WORKERS = 2
TIME = 0.1
"""Seconds that a task may take which never ends."""


@contextmanager
def warm(max_workers: int) -> Iterator[ProcessExecutor]:
    """Worker processes with the app loaded; all of them have done something."""
    from flask_concurrency.executors.processes import ProcessExecutor

    with ProcessExecutor(max_workers, preload=["benchmarks.loaded_app"]) as executor:
        for future in [executor.submit(app_name) for _ in range(8 * max_workers)]:
            expect_app(future.result())
        yield executor


def expect_app(name: str) -> None:
    """Insist on what only a worker can say that has the app loaded."""
    if name != app.name:
        raise WrongAnswer(f"{name!r}")


# --- memory ---


@contextmanager
def our_memory(*, whole_pool: bool) -> Iterator[Call]:
    """Bytes of one worker; with its part of the forkserver if wanted."""
    with warm(WORKERS) as executor:
        forkserver = parent_of(executor.submit(os.getpid).result())
        workers = children_of(forkserver)
        counted = workers | ({forkserver} if whole_pool else set())
        yield lambda: sum(map(proportional_memory, counted)) / len(workers)


@contextmanager
def gunicorn_memory(*options: str) -> Iterator[Call]:
    """Bytes of one worker that has answered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--log-level=warning"]
    command += [f"--bind=127.0.0.1:{port}", f"--workers={WORKERS}", *options]
    server = subprocess.Popen([*command, "benchmarks.loaded_app:app"])
    try:
        for _ in range(8 * WORKERS):
            ask(f"http://127.0.0.1:{port}/", server)
        workers = children_of(server.pid)
        yield lambda: sum(map(proportional_memory, workers)) / len(workers)
    finally:
        server.terminate()
        server.wait()


# --- a worker that died ---


@contextmanager
def our_replacement() -> Iterator[Call]:
    """Our pool goes on by itself."""
    with warm(1) as executor:
        yield partial(replaced, lambda fn: executor.submit(fn).result())


@contextmanager
def pebble_replacement() -> Iterator[Call]:
    """So does Pebble's."""
    from pebble import ProcessPool

    with ProcessPool(1) as pool:
        yield partial(replaced, lambda fn: pool.schedule(fn).result())


@contextmanager
def standard_replacement() -> Iterator[Call]:
    """A pool of the standard library is broken: the caller that sees that makes another one."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    pool = ProcessPoolExecutor(1)

    def run(fn: Callable[[], T]) -> T:
        nonlocal pool
        try:
            return pool.submit(fn).result()
        except BrokenProcessPool:
            pool.shutdown()
            pool = ProcessPoolExecutor(1)
            raise

    yield partial(replaced, run)
    pool.shutdown()


def replaced(run: Callable[[Callable[[], Any]], Any]) -> float:
    """Have the only worker killed by its task; seconds until another one has done the next."""
    killed_at = time.monotonic()
    try:
        run(die)
    except (OSError, RuntimeError):  # each pool has its own name for it
        expect_app(run(app_name))
        return time.monotonic() - killed_at
    raise WrongAnswer("a task has survived its worker")


# --- a deadline that passes ---


@contextmanager
def our_deadline(*, gone: bool) -> Iterator[Call]:
    """``concurrency.deadline`` around a task that hangs, without its app."""
    from flask_concurrency.runtime.deadline import within

    with warm(1) as executor:

        def late() -> float:
            pid = executor.submit(os.getpid).result()
            ends_at = time.monotonic() + TIME
            with within(TIME):
                return lateness(executor.submit(hang).result, pid if gone else None, ends_at)

        yield late


@contextmanager
def pebble_deadline(*, gone: bool) -> Iterator[Call]:
    """``schedule(timeout=…)``, whose clock starts when a worker takes the task."""
    from pebble import ProcessPool

    with ExitStack() as stack:
        pool = stack.enter_context(ProcessPool(1))

        def late() -> float:
            pid = pool.schedule(os.getpid).result()
            ends_at = time.monotonic() + TIME
            return lateness(
                pool.schedule(hang, timeout=TIME).result, pid if gone else None, ends_at
            )

        yield late


def lateness(result: Callable[[], object], pid: int | None, ends_at: float) -> float:
    """Seconds from a deadline until a task's caller is told, or until its worker is gone."""
    try:
        result()
    except TimeoutError:
        if pid is not None:
            wait_until_gone(pid)
        return time.monotonic() - ends_at
    raise WrongAnswer("a task that never ends has ended")


BENCHMARKS = (
    Benchmark(
        name="workers-memory",
        title=f"memory of an idle worker process, of {WORKERS}, with an app loaded (PSS)",
        unit="MB",
        measures_itself=True,
        subjects=(
            Subject(IDLE, partial(our_memory, whole_pool=False)),
            Subject(WHOLE_POOL, partial(our_memory, whole_pool=True)),
            Subject(GUNICORN, gunicorn_memory),
            Subject(PRELOADED, partial(gunicorn_memory, "--preload")),
        ),
        comparisons=(
            Comparison("beside gunicorn", IDLE, GUNICORN),
            Comparison("forkserver included, beside gunicorn", WHOLE_POOL, GUNICORN),
            Comparison("beside gunicorn --preload", IDLE, PRELOADED),
        ),
    ),
    Benchmark(
        name="workers-replaced",
        title="from the death of the only worker to the first task done by its successor",
        unit="ms",
        measures_itself=True,
        subjects=(
            Subject(OURS, our_replacement, at_most=0.025),
            Subject(PEBBLE, pebble_replacement),
            Subject(STDLIB, standard_replacement),
        ),
        comparisons=(
            Comparison("beside Pebble", OURS, PEBBLE),
            Comparison("beside the standard library's pool", OURS, STDLIB),
        ),
    ),
    Benchmark(
        name="workers-deadline",
        title=f"a task that hangs, with {TIME} s to live: from its deadline to its end",
        unit="ms",
        measures_itself=True,
        subjects=(
            Subject(OURS_TOLD, partial(our_deadline, gone=False)),
            Subject(OURS_GONE, partial(our_deadline, gone=True), at_most=0.020),
            Subject(PEBBLE_TOLD, partial(pebble_deadline, gone=False)),
            Subject(PEBBLE_GONE, partial(pebble_deadline, gone=True)),
        ),
        comparisons=(Comparison("process gone, beside Pebble", OURS_GONE, PEBBLE_GONE),),
    ),
)
