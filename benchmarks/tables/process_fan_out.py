"""Measure what it takes to have worker processes do tasks that do nothing.

Two workers each, all pools warm but where the way is to make a new one. No request around it: that
would add the same to all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject
from benchmarks.tasks import echo
from benchmarks.wsgi_call import WrongAnswer

WORKERS = 2

OURS, STDLIB, LOKY, PEBBLE = "ours", "standard library, warm", "loky", "Pebble"


def checked(run: Callable[[], list[int]], tasks: int) -> Call:
    """A call that insists on all results, in order."""
    expected = list(range(tasks))

    def call() -> None:
        if run() != expected:
            raise WrongAnswer(f"expected {expected}")

    return call


def work(tasks: int, submit: Callable[..., Any], spread: Callable[..., Any]) -> Call:
    """One call by ``submit``, several by ``map``."""
    if tasks == 1:
        return checked(lambda: [submit(echo, 0).result()], tasks)
    return checked(lambda: list(spread(echo, range(tasks))), tasks)


@contextmanager
def tutorial(tasks: int) -> Iterator[Call]:
    """A new process for each task, joined. Its results are lost, so none are asked for."""
    from multiprocessing import Process

    def run() -> None:
        processes = [Process(target=echo, args=(number,)) for number in range(tasks)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise WrongAnswer("a process failed")

    yield run


@contextmanager
def new_pool(tasks: int) -> Iterator[Call]:
    """A new pool of the standard library for each call."""
    from concurrent.futures import ProcessPoolExecutor

    def run() -> list[int]:
        with ProcessPoolExecutor(WORKERS) as pool:
            return list(pool.map(echo, range(tasks)))

    yield checked(run, tasks)


@contextmanager
def standard_library(tasks: int) -> Iterator[Call]:
    """One pool of the standard library."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS) as pool:
        yield work(tasks, pool.submit, pool.map)


@contextmanager
def loky(tasks: int) -> Iterator[Call]:
    """One pool of loky."""
    from loky import ProcessPoolExecutor  # type: ignore[import-untyped]

    pool = ProcessPoolExecutor(WORKERS)
    yield work(tasks, pool.submit, pool.map)
    pool.shutdown()


@contextmanager
def pebble(tasks: int) -> Iterator[Call]:
    """One pool of Pebble."""
    from pebble import ProcessPool

    with ProcessPool(WORKERS) as pool:
        yield work(
            tasks,
            lambda fn, number: pool.schedule(fn, args=[number]),
            lambda fn, numbers: pool.map(fn, numbers).result(),
        )


@contextmanager
def ours(tasks: int) -> Iterator[Call]:
    """``concurrency.processes``."""
    from flask import Flask

    from flask_concurrency import Concurrency

    app = Flask("ours")
    app.config["CONCURRENCY_PROCESSES"] = {"max_workers": WORKERS}
    concurrency = Concurrency(app, store="memory://")
    with app.app_context(), concurrency.processes as executor:
        yield work(tasks, executor.submit, executor.map)


def _benchmark(tasks: int, beside_pebble: float) -> Benchmark:
    what = "one task" if tasks == 1 else f"{tasks} tasks"
    return Benchmark(
        name=f"processes-{tasks}",
        title=f"{what} on {WORKERS} worker processes",
        subjects=(
            Subject(OURS, partial(ours, tasks)),
            Subject(PEBBLE, partial(pebble, tasks)),
            Subject(STDLIB, partial(standard_library, tasks)),
            Subject(LOKY, partial(loky, tasks)),
            Subject("new pool each time", partial(new_pool, tasks)),
            Subject("tutorial: new processes", partial(tutorial, tasks)),
        ),
        comparisons=(
            Comparison("beside Pebble", OURS, PEBBLE, at_most=beside_pebble),
            Comparison("beside the standard library's pool", OURS, STDLIB),
            Comparison("beside loky", OURS, LOKY),
            Comparison("beside the tutorial's way", OURS, "tutorial: new processes"),
        ),
    )


BENCHMARKS = (_benchmark(1, 0.4), _benchmark(5, 0.36))
