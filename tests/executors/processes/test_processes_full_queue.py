"""Callers that wait for a slot in the queue, work in the background, and bounded drains."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest

import process_tasks as tasks
from event_loops import until_idle
from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.runtime.deadline import remaining, within
from flask_concurrency.vocabulary.errors import (
    ConfigurationError,
    DeadlineExceeded,
    ExecutorShutdown,
    QueueFull,
)

PoolOf = Callable[..., ProcessExecutor]
MakeGate = Callable[[], Any]


def stand_in_line(executor: ProcessExecutor, number: int, submit: Callable[[], Any]) -> Any:
    """Submit on another thread, and return once that waits in line."""
    ended: list[Any] = []

    def wait() -> None:
        try:
            ended.append(submit())
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while executor.snapshot().waiting < number:
        assert thread.is_alive(), ended
    return thread, ended


@pytest.mark.slow
def test_a_caller_waits_for_a_place(pool_of: PoolOf, make_gate: MakeGate) -> None:
    """In the order of arrival; a deadline, a shutdown and a thread that must not wait end it."""
    executor, gates = pool_of(1, max_queue=0, when_full="wait"), [make_gate(), make_gate()]
    running = executor.submit(tasks.pass_gate, *gates[0].paths)
    gates[0].wait_entered()

    # One whose deadline passes leaves the line.
    with within(0.05), pytest.raises(DeadlineExceeded, match="had no place before the deadline"):
        executor.submit(abs, -1)
    with within(-1.0), pytest.raises(DeadlineExceeded):
        executor.submit(abs, -1)

    # An event loop is not kept waiting: what is submitted there is refused, what is awaited waits.
    async def on_a_loop() -> Any:
        with pytest.raises(QueueFull):
            executor.submit(abs, -1)
        with within(0.05), pytest.raises(DeadlineExceeded):
            await executor.run(abs, -1)
        cancelled = asyncio.ensure_future(executor.run(abs, -1))
        await until_idle()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        awaited = asyncio.ensure_future(executor.run(abs, -2))
        await until_idle()
        gates[0].open()
        return await awaited

    assert asyncio.run(on_a_loop()) == 2
    assert running.result(30) is None
    assert executor.snapshot().refused == 1

    # Callers in line are admitted one by one, and refused by a shutdown.
    running = executor.submit(tasks.pass_gate, *gates[1].paths)
    gates[1].wait_entered()
    first = stand_in_line(executor, 1, lambda: executor.submit(abs, -3).result(30))
    second = stand_in_line(executor, 2, lambda: list(executor.map(abs, [-4])))
    gates[1].open()
    for thread, _ in (first, second):
        thread.join(30)
    assert first[1] == [3]
    assert second[1] == [[4]]
    gate = make_gate()
    executor.submit(tasks.pass_gate, *gate.paths)
    gate.wait_entered()
    third = stand_in_line(executor, 1, lambda: executor.submit(abs, -5))
    executor.shutdown(wait=False)
    third[0].join(30)
    assert isinstance(third[1][0], ExecutorShutdown)
    gate.open()


@pytest.mark.slow
def test_a_callback_on_the_reading_thread_is_refused(pool_of: PoolOf) -> None:
    """No other thread would read the reply that makes room."""
    executor = pool_of(1, max_queue=0, when_full="wait")
    called = threading.Event()
    told: list[QueueFull] = []

    def fill_up(_: object) -> None:
        try:
            executor.submit(tasks.nap, 3600)
            executor.submit(abs, -1)
        except QueueFull as error:
            told.append(error)
        called.set()

    executor.submit(tasks.nap, 0.2).add_done_callback(fill_up)  # long enough to add it before
    assert called.wait(30)
    executor.kill_workers()
    assert len(told) == 1


def test_a_background_task_has_no_deadline_and_its_failure_is_logged(
    pool: ProcessExecutor,
) -> None:
    """With the traceback in the worker; its future may never be read."""
    said: list[str] = []
    logged = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(self.format(record))
            logged.set()

    logger, listener = logging.getLogger("flask_concurrency.executors"), Listener()
    logger.addHandler(listener)
    try:
        with within(3600.0):
            assert pool.spawn(tasks.time_left).result(30) is None
            assert remaining() is not None
        pool.spawn(tasks.fail, "in the background")
        assert logged.wait(30)
    finally:
        logger.removeHandler(listener)
    assert "Background task 'process_tasks.fail' of 'shared' failed" in said[0]
    assert "LookupError: in the background" in said[0]
    assert "raise LookupError(message)" in said[0]
    assert pool.submit(tasks.spawn_inside).result(30) == 1


@pytest.mark.slow
def test_pitfall_19_a_drain_ends_what_does_not_end(
    pool_of: PoolOf, make_gate: MakeGate, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the tasks, and leaves no process; what is done in time has its result."""
    executor, gate = pool_of(1, name="drained"), make_gate()
    executor.submit(abs, -1).result(30)
    running = executor.submit(tasks.pass_gate, *gate.paths)
    waiting = executor.submit(abs, -2)
    gate.wait_entered()
    assert executor.drain(0.05) == ["process_tasks.pass_gate", "builtins.abs"]
    for future in (running, waiting):
        with pytest.raises(CancelledError):
            future.result(0)
    assert "'drained' ended 2 tasks that were not done" in caplog.text
    assert executor.snapshot().workers == 0
    with pytest.raises(ExecutorShutdown):
        executor.submit(abs, -1)
    assert executor.drain(0.0) == []
    with pytest.raises(ConfigurationError, match="timeout=-1"):
        executor.drain(-1)

    executor = pool_of(1)
    done = executor.submit(abs, -3)
    assert executor.drain(30.0) == []
    assert done.result(0) == 3


def test_a_snapshot_tells_how_long_tasks_took(pool: ProcessExecutor) -> None:
    """Waiting and running, of the last thousand."""
    pool.submit(tasks.nap, 0.01).result(30)
    snapshot = pool.snapshot()
    assert snapshot.max_workers == 2
    assert snapshot.max_queue == 1000
    assert 0 < snapshot.durations.run_p50 <= snapshot.durations.run_p99
    assert 0 <= snapshot.durations.wait_p50 <= snapshot.durations.wait_p99
