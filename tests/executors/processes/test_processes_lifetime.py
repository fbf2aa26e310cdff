"""Process executors when their process forks, ends, or is killed."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import process_tasks as tasks
import process_watching as watching
from flask_concurrency.executors.processes import ProcessExecutor

PoolOf = Callable[..., ProcessExecutor]
MakeGate = Callable[[], Any]

IMPORTS = {**os.environ, "PYTHONPATH": str(Path(tasks.__file__).parent)}
HEAD = """
import os, signal, sys, threading, time, warnings
import process_tasks as tasks
import process_watching as watching
from flask_concurrency.executors.processes import ProcessExecutor

warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads: what is tested here

def both_workers(pool):
    pids = set()
    while len(pids) < 2:  # one may have been quick enough to do all of it
        pids |= set(pool.map(tasks.worker_pid, range(8)))
    return pids
"""


def printed_by(program: str, *arguments: str) -> str:
    """Run a program in a new interpreter, which must end well and silently."""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", HEAD + program, *arguments],
        env=IMPORTS,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (ended.stderr, ended.returncode) == ("", 0)
    return ended.stdout


@pytest.mark.slow
def test_pitfall_1_a_pool_used_before_a_fork_works_in_the_child_and_in_the_parent() -> None:
    """The child has workers of its own, and neither uses nor ends its parent's."""
    program = """
pool = ProcessExecutor(2)
closed = ProcessExecutor(1)
closed.shutdown()
before = both_workers(pool)
read, write = os.pipe()
child = os.fork()
if not child:
    assert pool.snapshot().workers == 0
    inside = set(pool.map(tasks.worker_pid, range(8)))
    assert not inside & before, (inside, before)
    try:
        closed.submit(abs, -1)
    except RuntimeError:
        pass
    else:
        raise AssertionError("was open")
    pool.shutdown()
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert set(pool.map(tasks.worker_pid, range(8))) <= before
forks = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        sys.exit(pool.submit(abs, -7).result(30))  # no shutdown: the exit does it
    forks.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(forks, pool.submit(abs, -1).result(30))
"""
    assert printed_by(program) == "[7, 7, 7] 1\n"


@pytest.mark.slow
def test_pitfall_1_a_fork_amid_the_work_of_other_threads_is_no_harm() -> None:
    """Whatever locks they held: the child's are new."""
    program = """
pool = ProcessExecutor(2)
done = threading.Event()
def work():
    while not done.is_set():
        pool.submit(abs, -1).result(30)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
codes = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        signal.alarm(30)  # should it hang after all
        os._exit(0 if pool.submit(abs, -5).result(30) == 5 else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
done.set()
for thread in threads:
    thread.join()
print(codes)
"""
    assert printed_by(program) == f"{[0] * 3}\n"


@pytest.mark.slow
def test_no_fork_closes_what_was_opened_after_a_pool_was_closed() -> None:
    """Neither in a child, for a pool that was shut down, nor in a child's child, for any pool."""
    program = """
closed, pool = ProcessExecutor(1), ProcessExecutor(1)
for each in (closed, pool):
    each.submit(abs, -1).result(30)
closed.shutdown()

def open_some():  # with the lowest numbers that are free, those of what was closed before
    return [os.open(os.devnull, os.O_RDONLY) for _ in range(16)]

opened = open_some()
child = os.fork()
if not child:
    for descriptor in opened:
        os.fstat(descriptor)  # fails if it was closed
    opened += open_some()
    if not os.fork():
        for descriptor in opened:
            os.fstat(descriptor)
        os._exit(0)
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert printed_by(program) == "0\n"


@pytest.mark.slow
def test_a_future_of_the_parent_is_told_apart_in_the_child() -> None:
    """To wait for it there would never end."""
    program = """
pool = ProcessExecutor(1)
gate = sys.argv[1]
future = pool.submit(tasks.wait_for_file, gate)
pid = os.fork()
if not pid:
    try:
        future.result()
    except RuntimeError as error:
        print(error, flush=True)
        future.cancel()
        os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
open(gate, "w").close()
print(future.result(30))
"""
    path = str(Path(os.environ.get("TMPDIR", "/tmp")) / f"gate-{os.getpid()}-{id(program)}")
    try:
        told, result = printed_by(program, path).splitlines()
    finally:
        os.unlink(path)
    assert "belongs to the process that this one was forked from" in told
    assert result == "None"


@pytest.mark.slow
@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_an_exit_finishes_what_was_submitted_and_leaves_nothing(
    tmp_path: Path, start_method: str
) -> None:
    """As with the standard library's executors; no warning is printed on the way."""
    program = """
pool = ProcessExecutor(2, start_method=sys.argv[2])
for letter in "abcdef":
    pool.submit(tasks.append_to, sys.argv[1], letter)
pool.submit(abs, -1).result(30)
print(*watching.descendants(os.getpid()))
"""
    log = tmp_path / "log"
    started = {int(pid) for pid in printed_by(program, str(log), start_method).split()}
    assert started
    assert sorted(log.read_text()) == list("abcdef")
    assert not watching.wait_until_gone(started, within=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_pitfall_17_no_worker_outlives_a_killed_owner(tmp_path: Path, state: str) -> None:
    """Within a second of SIGKILL, although a forked child holds copies of all descriptors."""
    program = """
pool = ProcessExecutor(2)
assert len(list(pool.map(abs, range(8)))) == 8
if sys.argv[2] == "busy":
    for number in range(2):
        pool.submit(tasks.note_pid_and_hang, sys.argv[1] + str(number))
    for number in range(2):
        tasks.wait_for_file(sys.argv[1] + str(number))
print(*watching.descendants(os.getpid()), flush=True)
sys.stdin.read()
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", HEAD + program, str(tmp_path / "pid"), state],
        env=IMPORTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner.stdin, owner.stdout:
        started = {int(pid) for pid in owner.stdout.readline().split()}
        assert len(started) == 3  # the forkserver and two workers
        owner.kill()
        assert owner.wait(10) == -signal.SIGKILL
        assert not watching.wait_until_gone(started, within=1.0)


@pytest.mark.slow
def test_pitfall_17_no_worker_outlives_a_killed_forkserver(pool_of: PoolOf) -> None:
    """Nor the guardian itself."""
    executor = pool_of(2, name="guarded")
    workers = set(executor.map(tasks.worker_pid, range(8)))
    (forkserver,) = watching.children_running("forkserver of guarded")
    os.kill(forkserver, signal.SIGKILL)
    assert not watching.wait_until_gone(workers, within=1.0)


@pytest.mark.slow
def test_pitfall_18_ctrl_c_reaches_the_owner_alone() -> None:
    """The terminal sends it to the whole process group; the workers go on and are of use."""
    program = """
os.setpgid(0, 0)
pool = ProcessExecutor(2)
before = both_workers(pool)
try:
    os.killpg(0, signal.SIGINT)
    time.sleep(30)
except KeyboardInterrupt:
    pass
for pid in before:
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
assert set(pool.map(tasks.worker_pid, range(8))) <= before
try:
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    future = pool.submit(tasks.wait_for_file, sys.argv[1])
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    future.result()
except KeyboardInterrupt:
    open(sys.argv[1], "w").close()
print(future.result(30), pool.submit(abs, -3).result(30))
"""
    path = f"/tmp/ctrl-c-{os.getpid()}"
    try:
        assert printed_by(program, path) == "None 3\n"
    finally:
        os.unlink(path)


@pytest.mark.slow
def test_a_shutdown_waits_for_what_was_submitted(pool_of: PoolOf, make_gate: MakeGate) -> None:
    """Without waiting, the tasks are done all the same; cancelled ones never start."""
    executor, gate = pool_of(1), make_gate()
    running = executor.submit(tasks.pass_gate, *gate.paths, value="done")
    queued = executor.submit(abs, -4)
    gate.wait_entered()
    executor.shutdown(wait=False)
    gate.open()
    executor.shutdown()
    executor.shutdown()
    assert running.result(0) == "done"
    assert queued.result(0) == 4
    assert executor.snapshot().workers == 0

    executor, gate = pool_of(1), make_gate()
    running = executor.submit(tasks.pass_gate, *gate.paths, value="done")
    queued = executor.submit(abs, -4)
    gate.wait_entered()
    executor.shutdown(wait=False, cancel_futures=True)
    assert queued.cancelled()
    gate.open()
    executor.shutdown()
    assert running.result(0) == "done"


@pytest.mark.slow
def test_a_shutdown_in_a_callback_does_not_wait_for_itself(pool_of: PoolOf) -> None:
    """The callback runs on the thread that would end the workers."""
    executor, ended = pool_of(1), threading.Event()

    def shut_down(_: object) -> None:
        executor.shutdown()
        ended.set()

    executor.submit(abs, -1).add_done_callback(shut_down)
    assert ended.wait(30)
    executor.shutdown()
    assert executor.snapshot().workers == 0


@pytest.mark.slow
def test_a_forgotten_executor_takes_its_workers_along() -> None:
    """As every application of a test suite does; what it was given is done before."""
    executor = ProcessExecutor(2, name="forgotten")
    future = executor.submit(tasks.worker_pid)
    futures = [executor.submit(abs, -number) for number in range(5)]
    pid = future.result(30)
    (reader,) = (each for each in threading.enumerate() if each.name == "forgotten-reader")
    del executor
    gc.collect()
    assert [future.result(30) for future in futures] == [0, 1, 2, 3, 4]
    reader.join(30)  # it ends the workers, and waits for the forkserver's end
    assert not reader.is_alive()
    assert not watching.wait_until_gone({pid}, within=5.0)
    assert not watching.children_running("forkserver of forgotten")


@pytest.mark.slow
def test_results_do_not_live_in_cycles(pool: ProcessExecutor) -> None:
    """A large one is freed with its future, not when the collector of garbage comes by."""
    gc.collect()
    gc.disable()
    try:
        pool.submit(tasks.echo, b"x" * 100).result(10)
        pool.submit(tasks.fail, "x").exception(10)
        list(pool.map(tasks.echo, range(5)))
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [thing for thing in gc.garbage if type(thing).__name__ in ("ProcessFuture", "Task")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == []


@pytest.mark.slow
def test_a_child_of_multiprocessing_finishes_what_was_submitted(gate: Any) -> None:
    """A forked one runs no ``atexit``, and the workers of some servers are such children."""
    program = """
import multiprocessing
fork = multiprocessing.get_context("fork")
child = fork.Process(target=tasks.submit_and_return, args=sys.argv[1:])
child.start()
with open(sys.argv[1], "rb") as entered:
    entered.read(1)
child.join(1.0)  # what it does has ended, but for the task
print(child.is_alive())
with open(sys.argv[2], "wb") as released:
    released.write(b"0")
child.join(30)
print(child.exitcode)
"""
    assert printed_by(program, *gate.paths) == "True\n0\n"
