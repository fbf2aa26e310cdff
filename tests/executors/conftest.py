"""Give each test executors of its own, and see them end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.threads import ThreadExecutor


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    """A loop that must shut down in time, with nothing left on it."""
    loop = LoopThread()
    yield loop
    assert loop.shutdown(timeout=5.0)


@pytest.fixture
def pool_of() -> Iterator[Callable[..., ThreadExecutor]]:
    """Make thread executors that must leave no thread behind."""
    made: list[ThreadExecutor] = []

    def make(max_workers: int | None = 2, **options: object) -> ThreadExecutor:
        pool = ThreadExecutor(max_workers, **options)  # type: ignore[arg-type]
        made.append(pool)
        return pool

    yield make
    for pool in made:
        pool.shutdown()
        assert pool.snapshot().workers == 0


@pytest.fixture
def occupy(
    pool_of: Callable[..., ThreadExecutor],
) -> Iterator[Callable[[ThreadExecutor, int], threading.Event]]:
    """Give so many threads of a pool a task that ends when the returned event is set."""
    gates: list[threading.Event] = []

    def start(pool: ThreadExecutor, count: int) -> threading.Event:
        gate, entered = threading.Event(), threading.Semaphore(0)
        gates.append(gate)

        def wait() -> None:
            entered.release()
            assert gate.wait(10)

        for _ in range(count):
            pool.submit(wait)
        for _ in range(count):
            assert entered.acquire(timeout=10)
        return gate

    yield start
    for gate in gates:
        gate.set()
