"""Measure how 64 MiB of numbers get to a worker process, and how they get there and back.

All pools are warm. Ours is measured in memory that it has used before, which is how it is in a
server that goes on doing this, and in memory that is new each time, as at a first call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject
from benchmarks.tasks import same, sum_of, sum_of_ends, sum_of_named
from benchmarks.wsgi_call import WrongAnswer

ITEMS = (64 << 20) // 8

OURS, FRESH, STDLIB, LOKY = "ours", "ours, in new memory", "standard library, warm", "loky"
NAMED = "standard library, shared_memory by name"


def work(back: bool, submit: Callable[..., Any]) -> Call:
    """A call that sends an array of floats and insists on the right answer."""
    import numpy as np

    array = np.arange(ITEMS, dtype=np.float64)

    def call() -> None:
        result = submit(same if back else sum_of_ends, array).result()
        if (result[0] + result[-1] if back else result) != ITEMS - 1:
            raise WrongAnswer("some of the array did not arrive")

    return call


@contextmanager
def ours(back: bool, fresh: bool) -> Iterator[Call]:
    """``concurrency.processes``, one worker."""
    from flask import Flask

    from flask_concurrency import Concurrency

    app = Flask("ours")
    app.config["CONCURRENCY_PROCESSES"] = {"max_workers": 1}
    concurrency = Concurrency(app, store="memory://")
    with app.app_context(), concurrency.processes as executor:
        call = work(back, executor.submit)

        def call_in_new_memory() -> None:
            call()
            for _ in range(2):  # what was not used between two looks is given back
                executor._pool.segments.trim()

        yield call_in_new_memory if fresh else call


@contextmanager
def standard_library(back: bool) -> Iterator[Call]:
    """One pool of the standard library."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1) as pool:
        yield work(back, pool.submit)


@contextmanager
def loky(back: bool) -> Iterator[Call]:
    """One pool of loky."""
    from loky import ProcessPoolExecutor  # type: ignore[import-untyped]

    pool = ProcessPoolExecutor(1)
    yield work(back, pool.submit)
    pool.shutdown()


@contextmanager
def ours_shared() -> Iterator[Call]:
    """``concurrency.processes.share``, once for all tasks; one worker."""
    import numpy as np
    from flask import Flask

    from flask_concurrency import Concurrency

    app = Flask("ours")
    app.config["CONCURRENCY_PROCESSES"] = {"max_workers": 1, "max_shared_memory": 256 << 20}
    concurrency = Concurrency(app, store="memory://")
    with app.app_context(), concurrency.processes as executor:
        shared = executor.share(np.ones(ITEMS))

        def call() -> None:
            if executor.submit(sum_of, shared).result() != ITEMS:
                raise WrongAnswer("some of the array did not arrive")

        yield call


@contextmanager
def named_memory() -> Iterator[Call]:
    """A block with a name, which each task opens; one pool of the standard library."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing.shared_memory import SharedMemory

    import numpy as np

    block = SharedMemory(create=True, size=8 * ITEMS)
    try:
        array = np.ndarray(ITEMS, np.float64, buffer=block.buf)
        array[:] = 1.0
        del array
        with ProcessPoolExecutor(1) as pool:

            def call() -> None:
                if pool.submit(sum_of_named, block.name, ITEMS).result() != ITEMS:
                    raise WrongAnswer("some of the array did not arrive")

            yield call
    finally:
        block.close()
        block.unlink()


@contextmanager
def loky_summing() -> Iterator[Call]:
    """One pool of loky, which is sent the array with each task."""
    import numpy as np
    from loky import ProcessPoolExecutor

    array = np.ones(ITEMS)
    pool = ProcessPoolExecutor(1)

    def call() -> None:
        if pool.submit(sum_of, array).result() != ITEMS:
            raise WrongAnswer("some of the array did not arrive")

    yield call
    pool.shutdown()


def _benchmark(name: str, title: str, back: bool) -> Benchmark:
    return Benchmark(
        name=name,
        title=title,
        subjects=(
            Subject(OURS, partial(ours, back, False)),
            Subject(FRESH, partial(ours, back, True)),
            Subject(LOKY, partial(loky, back)),
            Subject(STDLIB, partial(standard_library, back)),
        ),
        comparisons=(
            Comparison("beside loky", OURS, LOKY, at_most=0.1),
            Comparison("in new memory, beside loky", FRESH, LOKY, at_most=0.5),
            Comparison("beside the standard library's pool", OURS, STDLIB),
        ),
        unit="ms",
    )


BENCHMARKS = (
    _benchmark("array-in", "an array of 64 MiB to a worker process", False),
    _benchmark("array-echo", "an array of 64 MiB to a worker process and back", True),
    Benchmark(
        name="array-shared",
        title="an array of 64 MiB that many tasks sum up",
        subjects=(
            Subject(OURS, ours_shared),
            Subject(NAMED, named_memory),
            Subject(LOKY, loky_summing),
        ),
        comparisons=(
            Comparison("beside a block by its name", OURS, NAMED),
            Comparison("beside loky", OURS, LOKY),
        ),
        unit="ms",
    ),
)
