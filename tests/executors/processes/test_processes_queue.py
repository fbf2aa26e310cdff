"""The queue of a process executor: its bound, its order, and what leaves it early."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from typing import Any

import pytest

import process_tasks as tasks
from event_loops import until_idle
from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.vocabulary.errors import QueueFull

PoolOf = Callable[..., ProcessExecutor]
MakeGate = Callable[[], Any]


@pytest.fixture
def occupied(pool: ProcessExecutor, make_gate: MakeGate) -> tuple[list[Any], list[Future[Any]]]:
    """Give both workers of the shared pool a task that waits at a gate."""
    gates = [make_gate(), make_gate()]
    futures = [pool.submit(tasks.pass_gate, *gate.paths) for gate in gates]
    for gate in gates:
        gate.wait_entered()
    return gates, futures


def test_tasks_start_in_the_order_of_their_submission(
    pool: ProcessExecutor, occupied: tuple[list[Any], list[Future[Any]]], tmp_path: Any
) -> None:
    """One worker set free takes them one by one."""
    gates, _ = occupied
    log = str(tmp_path / "log")
    queued = [pool.submit(tasks.append_to, log, str(number)) for number in range(6)]
    assert pool.snapshot().queued == 6
    assert pool.snapshot().busy == 2
    gates[0].open()
    for future in queued:
        future.result(10)
    assert (tmp_path / "log").read_text() == "012345"


def test_a_waiting_task_can_be_cancelled(
    pool: ProcessExecutor, occupied: tuple[list[Any], list[Future[Any]]]
) -> None:
    """A cancelled one never starts, and those behind it move up."""
    gates, running = occupied
    cancelled_before = pool.snapshot().cancelled
    unwanted, wanted = pool.submit(tasks.fail, "started"), pool.submit(abs, -1)
    assert unwanted.cancel()
    assert unwanted.cancel()
    assert unwanted.cancelled()
    assert not unwanted.running()
    assert wait([unwanted], timeout=30).done == {unwanted}
    assert running[0].running()
    assert pool.snapshot().queued == 1
    assert pool.snapshot().cancelled == cancelled_before + 1
    with pytest.raises(CancelledError):
        unwanted.result(10)
    gates[0].open()
    assert wanted.result(10) == 1
    assert running[0].result(10) is None


def test_a_cancelled_awaiting_takes_its_task_back(
    pool: ProcessExecutor, occupied: tuple[list[Any], list[Future[Any]]]
) -> None:
    """So a request that was given up does not leave work behind."""
    before = pool.snapshot().cancelled

    async def give_up() -> None:
        waiting = asyncio.ensure_future(pool.run(tasks.fail, "started"))
        await until_idle()
        assert pool.snapshot().queued == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(give_up())
    assert pool.snapshot().queued == 0
    assert pool.snapshot().cancelled == before + 1


def test_a_map_given_up_takes_its_tasks_back(
    pool: ProcessExecutor, occupied: tuple[list[Any], list[Future[Any]]]
) -> None:
    """No caller is left to read their results."""
    results = pool.map(tasks.fail, ["started"] * 5, timeout=0.001)
    assert pool.snapshot().queued == 5
    with pytest.raises(TimeoutError):
        next(results)
    assert pool.snapshot().queued == 0


@pytest.mark.slow
def test_pitfall_20_a_full_queue_refuses(pool_of: PoolOf, make_gate: MakeGate) -> None:
    """One task for each worker and ``max_queue`` that wait; the message has the numbers."""
    executor, gate = pool_of(1, max_queue=2, name="small"), make_gate()
    running = executor.submit(tasks.pass_gate, *gate.paths)
    waiting = [executor.submit(abs, -number) for number in range(2)]
    with pytest.raises(QueueFull, match=r"'small' refused a task: 2 of 2") as caught:
        executor.submit(abs, -1)
    assert caught.value.max_queue == 2
    with pytest.raises(QueueFull):
        executor.map(abs, [1])
    assert waiting[1].cancel()
    waiting.append(executor.submit(abs, -7))
    gate.open()
    assert running.result(10) is None
    assert [waiting[0].result(10), waiting[2].result(10)] == [0, 7]


@pytest.mark.slow
def test_a_map_may_be_ten_times_longer_than_the_queue(pool_of: PoolOf) -> None:
    """It stands in the queue with one task for each worker, and in order."""
    executor = pool_of(2, max_queue=4)
    assert list(executor.map(tasks.double, range(60))) == list(range(0, 120, 2))
    assert list(executor.map(tasks.double, range(60), chunksize=7)) == list(range(0, 120, 2))


@pytest.mark.slow
def test_a_map_is_done_though_nobody_takes_its_results(pool_of: PoolOf, tmp_path: Any) -> None:
    """The standard library's users write ``with executor: executor.map(save, pages)``."""
    log = tmp_path / "log"
    with pool_of(1, max_queue=0) as executor:
        executor.map(tasks.append_to, [str(log)] * 9, "012345678")
    assert log.read_text() == "012345678"


@pytest.mark.slow
def test_a_long_map_keeps_nobody_out_of_the_queue(pool_of: PoolOf, make_gate: MakeGate) -> None:
    """Other tasks find room, and get their turn before it is through."""
    executor, gate = pool_of(1, max_queue=1), make_gate()
    running = executor.submit(tasks.pass_gate, *gate.paths)
    results = executor.map(tasks.worker_pid, range(50))
    with pytest.raises(QueueFull):
        executor.submit(abs, -1)
    gate.open()
    running.result(10)
    assert next(results) > 0
    other = executor.submit(abs, -3)
    assert other.result(10) == 3
    assert len(list(results)) == 49
