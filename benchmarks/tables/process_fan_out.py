"""Measure what it takes to have worker processes do tasks that do nothing.

Two workers each, all pools warm but where the way is to make a new one. No request around it: that
would add the same to all.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject
from benchmarks.tasks import echo
from benchmarks.wsgi_call import WrongAnswer

WORKERS = 2

OURS, STDLIB, LOKY, PEBBLE = "ours", "standard library, warm", "loky", "Pebble"
FLOOR = "floor: pickle a call over two pipes"


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


@contextmanager
def floor() -> Iterator[Call]:
    """The call there and its result back between two blocked processes, and nothing else.

    Two processes have to be woken, and four times something has to be pickled or unpickled. There
    is no future, no second worker, no deadline, and no way to notice that the worker has died. A
    socket pair, which can hand shared memory over, takes 4 µs more.
    """
    calls, send = os.pipe()
    receive, results = os.pipe()
    worker = os.fork()
    if not worker:
        os.close(send)
        _answer(calls, results)
    os.close(calls)
    os.close(results)

    def run() -> list[int]:
        os.write(send, pickle.dumps((echo, (0,), {}), 5))
        return [pickle.loads(os.read(receive, 4096))]

    yield checked(run, 1)
    os.close(send)
    os.waitpid(worker, 0)
    os.close(receive)


def _answer(calls: int, results: int) -> NoReturn:
    """Run calls until the other end is closed."""
    while call := os.read(calls, 4096):
        fn, args, kwargs = pickle.loads(call)
        os.write(results, pickle.dumps(fn(*args, **kwargs), 5))
    os._exit(0)


def _benchmark(tasks: int, beside_pebble: float) -> Benchmark:
    what = "one task" if tasks == 1 else f"{tasks} tasks"
    floors = (Subject(FLOOR, floor),) if tasks == 1 else ()
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
            *floors,
        ),
        comparisons=(
            Comparison("beside Pebble", OURS, PEBBLE, at_most=beside_pebble),
            Comparison("beside the standard library's pool", OURS, STDLIB),
            Comparison("beside loky", OURS, LOKY),
            Comparison("beside the tutorial's way", OURS, "tutorial: new processes"),
            *(Comparison("beside the floor", OURS, each.name) for each in floors),
            *(Comparison("the floor, beside Pebble", each.name, PEBBLE) for each in floors),
        ),
    )


@contextmanager
def our_many(chunksize: Any) -> Iterator[Call]:
    """``concurrency.processes.map`` of many very short calls."""
    from flask_concurrency.executors.processes import ProcessExecutor

    with ProcessExecutor(WORKERS) as pool:
        yield checked(lambda: list(pool.map(echo, range(MANY), chunksize=chunksize)), MANY)


@contextmanager
def standard_many(chunksize: int) -> Iterator[Call]:
    """The standard library's, which is told how many go together."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS) as pool:
        yield checked(lambda: list(pool.map(echo, range(MANY), chunksize=chunksize)), MANY)


@contextmanager
def pebble_many(chunksize: int) -> Iterator[Call]:
    """Pebble's."""
    from pebble import ProcessPool

    with ProcessPool(WORKERS) as pool:
        yield checked(lambda: list(pool.map(echo, range(MANY), chunksize=chunksize).result()), MANY)


MANY = 1_000
BY_HAND = MANY // (4 * WORKERS)
"""What the standard library's own ``multiprocessing.Pool`` takes for so many items."""

AUTO = "ours, chosen chunks"
STDLIB_BY_HAND, PEBBLE_BY_HAND = f"standard library, by {BY_HAND}", f"Pebble, by {BY_HAND}"

BENCHMARKS = (
    _benchmark(1, 1 / 3),
    _benchmark(5, 0.45),
    Benchmark(
        name="processes-many",
        title=f"a map of {MANY} very short tasks on {WORKERS} worker processes",
        unit="ms",
        subjects=(
            Subject(AUTO, partial(our_many, "auto")),
            Subject("ours, one by one", partial(our_many, 1)),
            Subject(f"ours, by {BY_HAND}", partial(our_many, BY_HAND)),
            Subject("standard library, one by one", partial(standard_many, 1)),
            Subject(STDLIB_BY_HAND, partial(standard_many, BY_HAND)),
            Subject(PEBBLE_BY_HAND, partial(pebble_many, BY_HAND)),
        ),
        comparisons=(
            Comparison(
                "beside the standard library, one by one", AUTO, "standard library, one by one"
            ),
            Comparison("beside the standard library, a size by hand", AUTO, STDLIB_BY_HAND),
            Comparison("beside Pebble, a size by hand", AUTO, PEBBLE_BY_HAND),
            Comparison("beside ours, a size by hand", AUTO, f"ours, by {BY_HAND}"),
        ),
    ),
)
