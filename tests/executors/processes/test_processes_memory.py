"""How much memory a worker may take, and the error of a task that wants more."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import buffer_tasks as buffers
import process_tasks as tasks
from flask_concurrency import WorkerOutOfMemory
from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.executors.processes.worker import memory_cap
from flask_concurrency.executors.processes.worker.memory_cap import MemoryCap, check_max_memory
from flask_concurrency.vocabulary.errors import ConfigurationError, WorkerStartFailed

PoolOf = Callable[..., ProcessExecutor]

MIB = 1 << 20


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (None, None),
        (1, 1),
        (300 * MIB, 300 * MIB),
        ("512MiB", 512 * MIB),
        ("512 mib", 512 * MIB),
        ("1.5GiB", 3 << 29),
        ("100KB", 100_000),
        ("2 GB", 2 * 10**9),
        ("77", 77),
    ],
)
def test_an_amount_of_memory_is_read(written: object, meant: int | None) -> None:
    """In bytes, or with a unit of either kind."""
    assert check_max_memory(written) == meant


@pytest.mark.parametrize("written", [0, -1, True, 1.5, "", "much", "512 MiBB", "-3MiB", "0"])
def test_what_is_no_amount_is_refused(written: object) -> None:
    """The message names the value and shows how to write it."""
    with pytest.raises(ConfigurationError, match=r"max_memory=.*such as '512MiB'"):
        check_max_memory(written)


def test_a_platform_without_limits_refuses_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than to let a task take all there is."""
    monkeypatch.setattr(memory_cap, "resource", None)
    assert check_max_memory(None) is None
    with pytest.raises(ConfigurationError, match="not offered here"):
        check_max_memory("512MiB")


def test_without_a_limit_an_error_stays_what_it_is() -> None:
    """A task may raise ``MemoryError`` for reasons of its own."""

    def fail() -> None:
        raise MemoryError

    cap = MemoryCap(None)
    cap.impose()
    with pytest.raises(MemoryError):
        cap.call(fail, (), {})
    assert not cap.is_exceeded()


def test_what_is_in_use_is_known_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is the most that was ever in use."""

    def missing(*_: object) -> Any:
        raise OSError(errno.ENOENT, "no /proc")

    monkeypatch.setattr(memory_cap, "open", missing, raising=False)
    assert memory_cap._in_use() > MIB


@pytest.mark.slow
def test_a_task_that_wants_too_much_memory_fails_by_name(pool_of: PoolOf) -> None:
    """With the limit and the remedy; its worker is replaced, and its neighbours work on."""
    executor = pool_of(1, max_memory="200MiB")
    first = executor.submit(tasks.worker_pid).result(30)
    assert executor.submit(tasks.take_memory, 100 * MIB).result(30) == 100 * MIB
    with pytest.raises(WorkerOutOfMemory, match=r"take_memory'.*max_memory=209715200") as caught:
        executor.submit(tasks.take_memory, 400 * MIB).result(30)
    assert "raise 'max_memory'" in str(caught.value)
    assert caught.value.exitcode is None
    assert "bytearray(size)" in str(caught.value.__cause__)
    assert executor.submit(tasks.worker_pid).result(30) != first
    assert executor.snapshot().killed == 0


@pytest.mark.slow
def test_a_worker_that_keeps_too_much_memory_is_replaced(
    pool_of: PoolOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the task that made it so, and the next task has all of it."""
    executor = pool_of(1, max_memory="200MiB")
    first = executor.submit(tasks.worker_pid).result(30)
    executor.submit(tasks.take_memory, 150 * MIB, keep=True).result(30)
    assert executor.submit(tasks.worker_pid).result(30) == first
    with pytest.raises(WorkerOutOfMemory):
        executor.submit(tasks.take_memory, 150 * MIB).result(30)
    assert executor.submit(tasks.take_memory, 150 * MIB).result(30) == 150 * MIB


@pytest.mark.slow
def test_a_limit_below_what_a_worker_needs_is_told(pool_of: PoolOf) -> None:
    """No task would ever run."""
    with pytest.raises(WorkerStartFailed, match=r"(?s)max_memory=1000 is less than the \d+ bytes"):
        pool_of(1, max_memory=1000).submit(abs, -1).result(30)


@pytest.mark.slow
def test_arguments_and_results_that_are_too_large_are_told(pool_of: PoolOf) -> None:
    """They are in memory more than once on their way."""
    executor = pool_of(1, max_memory="200MiB", max_shared_memory=0)
    with pytest.raises(WorkerOutOfMemory):
        executor.submit(len, b"x" * (300 * MIB)).result(30)
    with pytest.raises(WorkerOutOfMemory):
        executor.submit(tasks.boxed_bytes_of, 150 * MIB).result(30)
    assert executor.submit(abs, -1).result(30) == 1


@pytest.mark.slow
def test_shared_memory_is_not_the_workers_own(pool_of: PoolOf) -> None:
    """A worker is not replaced for what its owner has lent it."""
    pool = pool_of(1, max_memory="200 MB")
    array = np.zeros(96 * 2**20, np.uint8)
    worker = pool.submit(tasks.worker_pid).result(30)
    for _ in range(3):
        assert len(pool.submit(tasks.echo, array).result(30)) == len(array)
    assert pool.submit(buffers.mapped_bytes).result(30) > 190 * 2**20
    assert pool.submit(tasks.worker_pid).result(30) == worker
