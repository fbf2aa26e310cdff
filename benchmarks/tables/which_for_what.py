"""Measure which way suits which work: one after another, on threads, on processes, on the loop.

All ways live in one app, as they would in yours. A task takes ten milliseconds wherever it runs
alone; what counts is how long some of them take together, beside one after another in that round.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject
from benchmarks.wsgi_call import WrongAnswer

if TYPE_CHECKING:
    from flask_concurrency import Concurrency

COUNTS = (1, 2, 4, 8, 16)
TASK = 0.010
"""Seconds that a task takes when nothing else runs."""
THREADS = 16
SEQUENTIAL = "one after another"


def wait(seconds: float) -> float:
    """Wait, as for a database or another service."""
    time.sleep(seconds)
    return seconds


async def wait_async(seconds: float) -> float:
    """Wait without a thread."""
    await asyncio.sleep(seconds)
    return seconds


def compute(steps: float) -> float:
    """Compute in Python, which lets no other thread of the process compute."""
    total = 0
    for number in range(int(steps)):
        total += number
    return steps


def digest(rounds: float) -> float:
    """Compute in a library that lets other threads run meanwhile, as many written in C do."""
    hashlib.pbkdf2_hmac("sha256", b"a password", b"and salt", int(rounds))
    return rounds


WORKS: dict[str, tuple[Callable[[float], float], int]] = {
    "waits": (wait, 0),
    "computes": (compute, 10_000),
    "computes in C": (digest, 1_000),
}
"""What a task does, and how much of it is tried to find out how much takes :data:`TASK`."""


@cache
def share(work: str) -> float:
    """How much of a work makes one task."""
    fn, steps = WORKS[work]
    if not steps:
        return TASK
    times = []
    for _ in range(30):
        started_at = time.perf_counter()
        fn(steps)
        times.append(time.perf_counter() - started_at)
    return max(1, round(steps * TASK / min(times)))


@cache
def served() -> Concurrency:
    """The app that all ways live in; its processes are as many as the processors."""
    from flask import Flask

    from flask_concurrency import Concurrency

    app = Flask("which_for_what")
    app.config["CONCURRENCY_THREADS"] = {"max_workers": THREADS}
    app.config["CONCURRENCY_PROCESSES"] = {"preload": [__name__]}
    app.app_context().push()  # for as long as this process lives
    return Concurrency(app, store="memory://")


@contextmanager
def sequential(work: str, tasks: int) -> Iterator[Call]:
    """One after another, where the caller is."""
    yield checked(work, tasks, map)


@contextmanager
def on_threads(work: str, tasks: int) -> Iterator[Call]:
    """``concurrency.threads.map``."""
    yield checked(work, tasks, served().threads.map)


@contextmanager
def on_processes(work: str, tasks: int) -> Iterator[Call]:
    """``concurrency.processes.map``."""
    yield checked(work, tasks, served().processes.map)


@contextmanager
def on_the_loop(work: str, tasks: int) -> Iterator[Call]:
    """Coroutines, gathered on the app's loop."""

    async def gather(amounts: list[float]) -> list[float]:
        return await asyncio.gather(*map(wait_async, amounts))

    loop = served().loop
    yield checked(work, tasks, lambda fn, amounts: loop.run(gather(amounts)))


def checked(work: str, tasks: int, run: Callable[..., Any]) -> Call:
    """A call that has so many tasks done, and insists on all results."""
    fn, _ = WORKS[work]
    amounts = [share(work)] * tasks

    def call() -> None:
        if list(run(fn, amounts)) != amounts:
            raise WrongAnswer(f"expected {amounts}")

    return call


WAYS = {
    SEQUENTIAL: sequential,
    "threads": on_threads,
    "processes": on_processes,
    "loop": on_the_loop,
}


def name_of(work: str, way: str, tasks: int) -> str:
    """What the tables call some tasks of a work done in a way."""
    return f"{work}, {tasks}: {way}"


def possible(work: str, way: str) -> bool:
    """The loop is for what waits: everything else would stop it."""
    return way != "loop" or work == "waits"


BENCHMARKS = (
    Benchmark(
        name="which-for-what",
        title="1 to 16 tasks of 10 ms that wait, compute in Python, or compute in C",
        unit="ms",
        together=True,
        subjects=tuple(
            Subject(name_of(work, way, tasks), partial(WAYS[way], work, tasks))
            for work in WORKS
            for tasks in COUNTS
            for way in WAYS
            if possible(work, way)
        ),
        comparisons=tuple(
            Comparison(
                f"{tasks} on {way}: {work}",
                name_of(work, way, tasks),
                name_of(work, SEQUENTIAL, tasks),
            )
            for work in WORKS
            for way in WAYS
            if way != SEQUENTIAL and possible(work, way)
            for tasks in COUNTS
        ),
    ),
)
