"""Tasks that end before their time: at their deadline, or because they are cancelled."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, wait
from pathlib import Path
from typing import Any

import pytest

import process_tasks as tasks
import process_watching as watching
from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.runtime.deadline import Deadline, within
from flask_concurrency.runtime.timer_thread import Alarm, timekeeper
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import DeadlineExceeded, WorkerStartFailed

PoolOf = Callable[..., ProcessExecutor]
MakeGate = Callable[[], Any]

LONG = 3600.0
SHORT = 0.05


def let_time_pass(future: Any) -> None:
    """Have a task's deadline pass now, on the timekeeper's thread."""
    alarm = future.task.alarm
    timekeeper.call_at(0.0, alarm.callback)
    alarm.cancel()


def test_a_running_task_ends_at_its_deadline_with_its_worker(
    pool: ProcessExecutor, make_gate: MakeGate
) -> None:
    """Its neighbour notices nothing, and the next task finds as many workers as before."""
    hanging, busy = make_gate(), make_gate()
    before = pool.snapshot()
    neighbour = pool.submit(tasks.pass_gate, *busy.paths, value="unharmed")
    with within(LONG):
        late = pool.submit(tasks.pass_gate, *hanging.paths)
    hanging.wait_entered()
    let_time_pass(late)
    with pytest.raises(DeadlineExceeded, match=r"pass_gate' was not done at its deadline.*killed"):
        late.result(30)
    assert pool.submit(abs, -1).result(30) == 1
    busy.open()
    assert neighbour.result(30) == "unharmed"
    after = pool.snapshot()
    assert (after.killed, after.expired) == (before.killed + 1, before.expired + 1)
    assert after.failed == before.failed


def test_pitfall_15_the_time_in_the_queue_counts(
    pool: ProcessExecutor, make_gate: MakeGate
) -> None:
    """A task that no worker has taken by its deadline never starts, and no worker is killed."""
    gates = [make_gate(), make_gate()]
    running = [pool.submit(tasks.pass_gate, *gate.paths, value="done") for gate in gates]
    for gate in gates:
        gate.wait_entered()
    killed = pool.snapshot().killed
    with within(SHORT):
        late = pool.submit(tasks.fail, "started")
    with pytest.raises(DeadlineExceeded, match=r"was not begun: its deadline passed"):
        late.result(30)
    assert pool.snapshot().queued == 0
    for gate in gates:
        gate.open()
    assert [future.result(30) for future in running] == ["done", "done"]
    assert pool.snapshot().killed == killed


def test_a_caller_is_told_though_a_callback_takes_long(
    pool: ProcessExecutor, make_gate: MakeGate
) -> None:
    """It waits neither for the background thread nor for its worker's successor."""
    begun, go_on = threading.Event(), threading.Event()
    first, hanging = make_gate(), make_gate()
    before = pool.snapshot()

    def take_long(_: object) -> None:
        begun.set()
        go_on.wait(60)

    pool.submit(tasks.pass_gate, *first.paths).add_done_callback(take_long)
    first.open()
    assert begun.wait(30)
    with within(LONG):
        late = pool.submit(tasks.pass_gate, *hanging.paths)
    hanging.wait_entered()
    let_time_pass(late)
    try:
        with pytest.raises(DeadlineExceeded, match="killed"):
            late.result(10)
    finally:
        go_on.set()
    assert pool.submit(abs, -2).result(30) == 2
    assert pool.snapshot().expired == before.expired + 1


def test_a_deadline_passes_though_nobody_waits(pool: ProcessExecutor, gate: Any) -> None:
    """Callbacks run, on a thread that has the time for them."""
    seen: list[str] = []
    called = threading.Event()

    def note(future: Any) -> None:
        seen.extend([type(future.exception()).__name__, threading.current_thread().name])
        called.set()

    with within(LONG):
        late = pool.submit(tasks.pass_gate, *gate.paths)
    late.add_done_callback(note)
    gate.wait_entered()
    let_time_pass(late)
    assert called.wait(30)
    assert seen == ["DeadlineExceeded", "shared-reader"]


@pytest.mark.parametrize("deadline", [Deadline(0.0), Deadline()])
def test_a_task_of_the_past_is_not_begun(pool: ProcessExecutor, deadline: Deadline) -> None:
    """Whether its time had passed, or its group was cancelled."""
    deadline.expire()
    with deadline:
        future = pool.submit(tasks.fail, "started")
    with pytest.raises(DeadlineExceeded, match="was not begun"):
        future.result(30)


def test_a_waiting_task_of_a_cancelled_group_never_starts(
    pool: ProcessExecutor, make_gate: MakeGate
) -> None:
    """Its deadline is asked when a worker takes it, not only when it is submitted."""
    gates = [make_gate(), make_gate()]
    running = [pool.submit(tasks.pass_gate, *gate.paths) for gate in gates]
    with within(LONG) as deadline:
        waiting = pool.submit(tasks.fail, "started")
    deadline.expire()
    for gate in gates:
        gate.open()
    assert isinstance(waiting.exception(30), DeadlineExceeded)
    wait(running, 30)


def test_a_worker_knows_how_much_time_is_left(pool: ProcessExecutor) -> None:
    """The instant crosses, for all processes of a host have the same clock."""
    for nested in (False, True):
        assert pool.submit(tasks.time_left, nested).result(30) is None
        with within(LONG):
            left = pool.submit(tasks.time_left, nested).result(30)
            assert left is not None
            assert LONG - 60 < left < LONG
        assert pool.submit(tasks.time_left, nested).result(30) is None
    with within(LONG):
        both = list(pool.map(tasks.time_left, [False, True]))
        assert all(left is not None and left < LONG for left in both)


def test_a_task_of_a_task_is_not_begun_after_its_deadline(pool: ProcessExecutor) -> None:
    """Tasks within a worker run at once, or not at all."""
    with pytest.raises(DeadlineExceeded):
        pool.submit(tasks.submit_too_late).result(30)


def test_an_alarm_goes_with_its_task(
    pool: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done in time leaves nothing behind that is due one day."""
    set_up: list[Alarm] = []
    call_at = timekeeper.call_at

    def remember(at: float, callback: Callable[[], object]) -> Alarm:
        set_up.append(call_at(at, callback))
        return set_up[-1]

    monkeypatch.setattr(timekeeper, "call_at", remember)
    with within(LONG):
        assert list(pool.map(abs, range(20))) == list(range(20))
        pool.submit(abs, -1).result(30)
    alarms = [alarm for alarm in set_up if alarm.at > monotonic() + LONG / 2]
    assert len(alarms) == 21
    assert [alarm for alarm in alarms if alarm.callback is not None] == []


def test_pitfall_16_a_late_reply_reaches_no_other_task(pool: ProcessExecutor) -> None:
    """Replies and deadlines race, over and over: each result is its own task's, or none."""
    chance = random.Random(16)
    late = 0
    for round in range(25):
        futures = []
        for number in range(8):
            with within(chance.uniform(0.0, 0.01)):
                futures.append(pool.submit(tasks.echo, (round, number)))
        for number, future in enumerate(futures):
            try:
                assert future.result(30) == (round, number)
            except DeadlineExceeded:
                late += 1
    assert pool.submit(abs, -1).result(30) == 1
    assert late


def test_a_running_task_is_cancelled_with_its_worker(
    pool: ProcessExecutor, make_gate: MakeGate
) -> None:
    """The waiting caller gets the error at once, and a neighbour notices nothing."""
    hanging, busy = make_gate(), make_gate()
    before = pool.snapshot()
    neighbour = pool.submit(tasks.pass_gate, *busy.paths, value="unharmed")
    unwanted = pool.submit(tasks.pass_gate, *hanging.paths)
    hanging.wait_entered()
    assert unwanted.running()
    told: list[BaseException] = []

    def wait_for_it() -> None:
        try:
            unwanted.result(30)
        except CancelledError as error:
            told.append(error)

    waiting = threading.Thread(target=wait_for_it)
    waiting.start()
    assert unwanted.cancel()
    waiting.join(30)
    assert len(told) == 1
    assert unwanted.cancel()
    assert unwanted.cancelled()
    assert not unwanted.running()
    assert wait([unwanted], timeout=30).done == {unwanted}
    assert pool.submit(abs, -1).result(30) == 1
    busy.open()
    assert neighbour.result(30) == "unharmed"
    assert not neighbour.cancel()
    after = pool.snapshot()
    assert (after.killed, after.cancelled) == (before.killed + 1, before.cancelled + 1)


def test_a_cancelled_awaiting_ends_a_running_task(pool: ProcessExecutor, gate: Any) -> None:
    """As does a request that was given up: ``await executor.run(...)``."""
    killed = pool.snapshot().killed

    async def give_up() -> None:
        waiting = asyncio.ensure_future(pool.run(tasks.pass_gate, *gate.paths))
        await asyncio.to_thread(gate.wait_entered)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(give_up())
    assert pool.snapshot().killed == killed + 1
    assert pool.submit(abs, -1).result(30) == 1


def test_a_map_given_up_lets_those_that_run_end(pool: ProcessExecutor, gate: Any) -> None:
    """As in the standard library: what has begun may be half-way through something."""
    before = pool.snapshot()
    results = pool.map(tasks.pass_gate, gate.paths[:1], gate.paths[1:])
    gate.wait_entered()
    del results
    gate.open()
    while pool.snapshot().done == before.done:  # its future has no reference left
        time.sleep(0.01)
    assert pool.snapshot().killed == before.killed


def test_tasks_are_cancelled_on_their_way_to_a_worker(pool: ProcessExecutor) -> None:
    """Submitting, sending and cancelling race, over and over; no worker is lost for good."""
    done = threading.Event()
    submitted: list[Any] = []

    def cancel() -> None:
        while not done.is_set():
            while submitted:
                submitted.pop().cancel()

    cancelling = threading.Thread(target=cancel)
    cancelling.start()
    for number in range(100):
        submitted.append(pool.submit(abs, number))
    done.set()
    cancelling.join(30)
    assert list(pool.map(abs, range(-20, 0))) == list(range(20, 0, -1))


@pytest.mark.slow
@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_pitfall_14_what_a_killed_task_started_is_killed_with_it(
    pool_of: PoolOf, tmp_path: Path, start_method: str
) -> None:
    """Even what ignores SIGTERM, and its child processes; not what its neighbours started."""
    entered = tmp_path / "entered"
    executor = pool_of(1, start_method=start_method)
    future = executor.submit(tasks.ignore_stop_signals_and_hang, str(entered))
    tasks.wait_for_file(str(entered))
    family = {int(pid) for pid in entered.read_text().split()}
    assert len(family) == 2
    for pid in family:
        os.kill(pid, 15)
    assert future.cancel()
    assert not watching.wait_until_gone(family, within=30.0)


@pytest.mark.slow
def test_a_kill_is_on_time_and_its_successor_is_quick(pool_of: PoolOf, gate: Any) -> None:
    """20 ms after the deadline at most, and 25 ms to the next worker; here ten times that."""
    executor = pool_of(1, preload=["flask"])
    executor.submit(abs, -1).result(30)
    with within(0.5) as deadline:
        late = executor.submit(tasks.pass_gate, *gate.paths)
    assert isinstance(late.exception(30), DeadlineExceeded)
    told_at = time.monotonic()
    assert executor.submit(abs, -1).result(30) == 1
    replaced_at = time.monotonic()
    assert 0 <= told_at - deadline.at < 0.2
    assert replaced_at - told_at < 0.25


@pytest.mark.slow
def test_workers_that_idle_retire(pool_of: PoolOf) -> None:
    """All of them, if there is nothing to do; the next task starts one anew."""
    executor = pool_of(2, idle_timeout=0.05, name="idlers")
    pids = set(executor.map(tasks.worker_pid, range(8)))
    assert not watching.wait_until_gone(pids, within=30.0)
    (forkserver,) = watching.children_running("forkserver of idlers")
    assert executor.submit(tasks.worker_pid).result(30) not in pids
    assert watching.children_running("forkserver of idlers") == [forkserver]
    assert executor.snapshot().killed == executor.snapshot().failed == 0


def test_a_task_with_a_deadline_runs_though_there_is_no_thread_to_watch_it(
    pool: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not be killed then; it must not be taken in and forgotten."""

    def no_thread(*_: object) -> Alarm:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(timekeeper, "call_at", no_thread)
    with within(LONG):
        assert pool.submit(abs, -1).result(30) == 1
        assert list(pool.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
    with within(0.0):
        assert isinstance(pool.submit(abs, -1).exception(30), DeadlineExceeded)


@pytest.mark.slow
def test_tasks_behind_one_that_is_late_are_told_if_its_worker_cannot_be_replaced(
    pool_of: PoolOf, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one without a waiting caller, as where its callback wakes an event loop."""
    executor = pool_of(1)
    with within(LONG):
        late = executor.submit(tasks.pass_gate, *gate.paths)
    gate.wait_entered()
    waiting = executor.submit(abs, -1)
    told = threading.Event()
    waiting.add_done_callback(lambda future: told.set())

    def no_descriptors() -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socketpair", no_descriptors)
    let_time_pass(late)
    assert told.wait(30)
    assert isinstance(waiting.exception(0), WorkerStartFailed)
    assert isinstance(late.exception(30), DeadlineExceeded)


@pytest.mark.slow
def test_workers_may_idle_for_months(pool_of: PoolOf) -> None:
    """A wait that is longer than the system can count is cut into parts."""
    executor = pool_of(1, idle_timeout=90 * 86400.0)
    assert executor.submit(abs, -1).result(30) == 1
    read = threading.Event()  # by the thread that had to wait so long, since no other one does
    executor.submit(abs, -1).add_done_callback(lambda future: read.set())
    assert read.wait(30)
