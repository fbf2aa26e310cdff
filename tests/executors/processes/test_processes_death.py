"""What becomes of tasks when worker processes die."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

import process_tasks as tasks
import process_watching as watching
from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.vocabulary.errors import WorkerDied

PoolOf = Callable[..., ProcessExecutor]
MakeGate = Callable[[], Any]


@pytest.mark.parametrize(
    ("task", "argument", "exitcode", "told"),
    [
        (tasks.die_with, 3, 3, r"exit code 3.*os\._exit"),
        (tasks.die_with, 0, 0, r"exit code 0"),
        (tasks.kill_self, signal.SIGKILL, -9, r"killed by SIGKILL.*ran out of memory"),
        (tasks.kill_self, signal.SIGSEGV, -11, r"crashed with SIGSEGV.*PYTHONFAULTHANDLER"),
        (tasks.kill_self, signal.SIGHUP, -1, r"killed by SIGHUP"),
    ],
)
def test_a_task_whose_worker_dies_fails_with_the_reason(
    pool: ProcessExecutor, task: Callable[..., Any], argument: int, exitcode: int, told: str
) -> None:
    """Exit code or signal, the name of the task, and what to do."""
    with pytest.raises(WorkerDied, match=f"{task.__name__}'.*{told}") as caught:
        pool.submit(task, argument).result(10)
    assert caught.value.exitcode == exitcode
    assert pool.submit(abs, -1).result(10) == 1


def test_one_of_twenty_tasks_dies_and_nineteen_are_right(pool: ProcessExecutor) -> None:
    """A crash fails its own task alone, and the queue goes on with a new worker."""
    futures = [pool.submit(tasks.die_if_seven, number) for number in range(20)]
    assert isinstance(futures.pop(7).exception(20), WorkerDied)
    assert [future.result(20) for future in futures] == [n for n in range(20) if n != 7]
    assert list(pool.map(abs, [-1, -2, -3])) == [1, 2, 3]


def test_a_death_is_noticed_though_nobody_waits(pool: ProcessExecutor) -> None:
    """Callbacks are called, and the worker is replaced."""
    failed = threading.Event()
    future = pool.submit(tasks.die_with, 1)
    future.add_done_callback(lambda future: failed.set())
    assert failed.wait(10)
    assert isinstance(future.exception(0), WorkerDied)
    assert pool.submit(abs, -1).result(10) == 1


def test_an_idle_worker_that_dies_costs_no_task(pool: ProcessExecutor) -> None:
    """A task that it never read goes to another worker, however close the race."""
    for _ in range(5):
        for victim in set(pool.map(tasks.worker_pid, range(4))):
            os.kill(victim, signal.SIGKILL)
        assert list(pool.map(abs, range(-4, 0))) == [4, 3, 2, 1]


def test_a_killed_worker_takes_a_large_unread_task_to_another(pool: ProcessExecutor) -> None:
    """What a worker has not read to its end, it has not begun."""
    pids = set(pool.map(tasks.worker_pid, range(4)))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    sizes: list[int] = []
    payload = bytes(2_000_000)

    def ask() -> None:
        sizes.append(len(pool.submit(tasks.echo, payload).result(20)))

    asking = threading.Thread(target=ask)
    asking.start()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    asking.join(20)
    assert sizes == [2_000_000]


def test_pitfall_16_a_process_left_behind_answers_nobody(pool: ProcessExecutor, gate: Any) -> None:
    """A task forks: the child's answer is dropped, and the worker's own death is still seen."""
    child = pool.submit(tasks.fork_and_return).result(10)
    assert child > 0
    assert [pool.submit(abs, -number).result(10) for number in range(4)] == [0, 1, 2, 3]
    with pytest.raises(WorkerDied, match="exit code 5"):
        pool.submit(tasks.fork_and_stay, gate.paths[1]).result(10)


def test_a_worker_that_left_its_process_group_is_killed_all_the_same(
    pool: ProcessExecutor, make_gate: MakeGate
) -> None:
    """To find no such group must not end the forkserver, and with it every neighbour."""
    stray, gate = make_gate(), make_gate()
    neighbour = pool.submit(tasks.pass_gate, *gate.paths, value="right")
    gone = pool.submit(tasks.leave_the_group_and_hang, *stray.paths)
    stray.wait_entered()
    gate.wait_entered()
    assert gone.cancel()
    assert pool.submit(abs, -1).result(10) == 1
    gate.open()
    assert neighbour.result(10) == "right"


def test_a_process_that_a_task_starts_has_ordinary_signals(pool: ProcessExecutor) -> None:
    """Workers let stop signals pass; what a task starts can be stopped."""
    assert pool.submit(tasks.terminate_own_child).result(10) == -signal.SIGTERM


@pytest.mark.slow
def test_a_program_that_a_task_starts_has_ordinary_signals(pool: ProcessExecutor) -> None:
    """Ignored signals would be inherited by programs."""
    assert pool.submit(tasks.subprocess_signals).result(20) == "[]"


@pytest.mark.slow
def test_a_worker_that_lost_its_pipe_is_replaced(pool: ProcessExecutor) -> None:
    """A task that closes every descriptor is distinguished from one whose process ended."""
    with pytest.raises(WorkerDied, match=r"close_everything'.*it had closed its connection"):
        pool.submit(tasks.close_everything).result(20)
    assert pool.submit(abs, -1).result(10) == 1


@pytest.mark.slow
def test_kill_workers_ends_hanging_tasks(pool_of: PoolOf, make_gate: MakeGate) -> None:
    """The running ones fail with the reason, the waiting ones are cancelled."""
    executor = pool_of(2)
    gates = [make_gate(), make_gate()]
    running = [executor.submit(tasks.pass_gate, *gate.paths) for gate in gates]
    waiting = executor.submit(abs, -1)
    for gate in gates:
        gate.wait_entered()
    executor.kill_workers()
    for future in running:
        with pytest.raises(WorkerDied, match="killed, because the executor was told to"):
            future.result(10)
    assert waiting.cancelled()
    executor.shutdown()
    assert executor.snapshot().killed == 2


@pytest.mark.slow
def test_a_killed_forkserver_is_replaced(pool_of: PoolOf, gate: Any) -> None:
    """Its workers go with it, the running tasks fail, and the next task finds new ones."""
    # A name of its own: executors of other tests, forgotten and not yet collected, have the usual.
    executor = pool_of(1, name="bereaved")
    future = executor.submit(tasks.pass_gate, *gate.paths)
    gate.wait_entered()
    (forkserver,) = watching.children_running("forkserver of bereaved")
    os.kill(forkserver, signal.SIGKILL)
    with pytest.raises(WorkerDied, match=r"forkserver process \d+ ended with exit code -9"):
        future.result(10)
    assert executor.submit(abs, -1).result(20) == 1


@pytest.mark.slow
def test_pitfall_23_worn_workers_are_replaced_without_a_break(pool_of: PoolOf) -> None:
    """``max_tasks_per_worker`` counts exactly, and no task is lost in between."""
    executor = pool_of(2, max_tasks_per_worker=3)
    pids = list(executor.map(tasks.worker_pid, range(30)))
    assert all(pids.count(pid) <= 3 for pid in pids)
    assert len(set(pids)) >= 10
    assert executor.snapshot().failed == 0
