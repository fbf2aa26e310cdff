"""Pools of worker processes for the tests, and gates that hold their tasks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

import process_watching as watching
from flask_concurrency.executors.processes import ProcessExecutor


@pytest.fixture(autouse=True, scope="session")
def tracker() -> None:
    """Start the tracker of shared memory: it is this process's, and outlives every pool."""
    resource_tracker.ensure_running()


@pytest.fixture(scope="session")
def pool() -> Iterator[ProcessExecutor]:
    """Two warm workers for all tests that leave a pool as they found it."""
    with ProcessExecutor(2, name="shared") as executor:
        executor.submit(abs, -1).result(30)
        yield executor
    assert executor.snapshot().workers == executor.snapshot().queued == 0


@pytest.fixture
def pool_of() -> Iterator[Callable[..., ProcessExecutor]]:
    """Make pools that must end, and leave neither process nor descriptor behind."""
    children, descriptors = watching.child_processes(), watching.descriptors()
    made: list[ProcessExecutor] = []

    def make(max_workers: int | None = 2, **options: object) -> ProcessExecutor:
        executor = ProcessExecutor(max_workers, **options)  # type: ignore[arg-type]
        made.append(executor)
        return executor

    yield make
    for executor in made:
        executor.shutdown(cancel_futures=True)
        assert executor.snapshot().workers == 0
    assert watching.child_processes() <= children
    assert watching.descriptors() <= descriptors


class Gate:
    """Holds one task: ``executor.submit(pass_gate, *gate.paths)``."""

    def __init__(self, directory: Path, number: int) -> None:
        self.paths = (str(directory / f"entered{number}"), str(directory / f"released{number}"))
        for path in self.paths:
            os.mkfifo(path)
        # Opened for both ways, so that neither side waits for the other to open.
        self._entered, self._released = (os.open(path, os.O_RDWR) for path in self.paths)

    def wait_entered(self) -> None:
        """Wait until the task runs."""
        assert os.read(self._entered, 1) == b"\0"

    def open(self) -> None:
        """Let the task end."""
        os.write(self._released, b"\0")

    def close(self) -> None:
        """Remove the gate: a task that comes too late fails instead of waiting."""
        for path in self.paths:
            os.unlink(path)
        os.close(self._entered)
        os.close(self._released)


@pytest.fixture
def make_gate(tmp_path: Path) -> Iterator[Callable[[], Gate]]:
    """Make gates; those that the test left closed are opened at its end."""
    gates: list[Gate] = []

    def make() -> Gate:
        gates.append(Gate(tmp_path, len(gates)))
        return gates[-1]

    yield make
    for gate in gates:
        gate.open()
        gate.close()


@pytest.fixture
def gate(make_gate: Callable[[], Gate]) -> Gate:
    return make_gate()
