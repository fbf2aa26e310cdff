"""The thread executor when its process forks or ends."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from flask_concurrency.executors.threads import ThreadExecutor

PoolOf = Callable[..., ThreadExecutor]
Occupy = Callable[[ThreadExecutor, int], threading.Event]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")

HEAD = """
import os, signal, sys, threading, time, warnings
from flask_concurrency.executors.threads import ThreadExecutor

warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads: what is tested here
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run ``program`` in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-c", HEAD + program],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def printed_by(program: str) -> str:
    """Run ``program`` in a new interpreter, which must end well and silently."""
    ended = run(program)
    assert (ended.stderr, ended.returncode) == ("", 0)
    return ended.stdout


@needs_fork
@pytest.mark.slow
def test_pitfall_1_a_pool_used_before_a_fork_works_in_the_child() -> None:
    """The child has new threads and none of its parent's work; the parent goes on."""
    program = """
pool = ThreadExecutor(2, name="shared")
closed = ThreadExecutor(2)
closed.shutdown()
gate = threading.Event()
running = [pool.submit(gate.wait, 20) for _ in range(2)]
queued = [pool.submit(int) for _ in range(5)]
child = os.fork()
if not child:
    assert pool.snapshot().workers == pool.snapshot().queued == 0
    assert list(pool.map(int, range(10))) == list(range(10))
    assert pool.snapshot().workers == 2
    try:
        closed.submit(int)
    except RuntimeError:
        pool.shutdown()
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
gate.set()
assert [f.result(5) for f in running + queued] == [True] * 2 + [0] * 5
print("both worked")
"""
    assert printed_by(program) == "both worked\n"


@needs_fork
@pytest.mark.slow
def test_pitfall_2_a_fork_while_the_pool_is_busy_leaves_no_lock_held() -> None:
    """Threads submit without pause while children are forked; each child can use the pool."""
    program = """
pool = ThreadExecutor(2)
over = threading.Event()
def submit():
    while not over.is_set():
        pool.submit(int).result(5)
submitters = [threading.Thread(target=submit) for _ in range(2)]
for each in submitters: each.start()
for _ in range(20):
    child = os.fork()
    if not child:
        signal.alarm(10)
        os._exit(pool.submit(int, "7").result())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
over.set()
for each in submitters: each.join()
print("twenty children worked")
"""
    assert printed_by(program) == "twenty children worked\n"


@needs_fork
@pytest.mark.slow
def test_a_forked_child_waits_for_no_task_of_its_parent() -> None:
    """Not for one that ran or waited at the fork; what had ended can be read there, too."""
    program = """
pool = ThreadExecutor(1)
gate = threading.Event()
ended = pool.submit(int, "7")
assert ended.result(5) == 7
unfinished = [pool.submit(gate.wait, 20), pool.submit(int), pool.spawn(int)]
mapped = pool.map(int, "123")
child = os.fork()
if not child:
    signal.alarm(10)
    refused = 0
    for ask in [each.result for each in unfinished] + [unfinished[0].exception, mapped.__next__]:
        try:
            ask()
        except RuntimeError as error:
            assert "forked from" in str(error), error
            refused += 1
    os._exit(refused + ended.result())
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5 + 7
gate.set()
assert list(mapped) == [1, 2, 3]
print("refused")
"""
    assert printed_by(program) == "refused\n"


@needs_fork
@pytest.mark.slow
def test_a_task_that_forks_ends_in_the_child_too() -> None:
    """The forked thread leaves its old pool instead of waiting for work that never comes."""
    program = """
pool = ThreadExecutor(2)
child = pool.submit(os.fork).result(5)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("the child has ended")
"""
    assert printed_by(program) == "the child has ended\n"


@pytest.mark.slow
def test_pitfall_19_the_end_of_the_program_waits_for_accepted_work() -> None:
    """Running, queued and mapped calls end before the interpreter does, with no shutdown()."""
    program = """
pool = ThreadExecutor(1)
main_over = threading.Event()
def wait_for_main():
    threading.main_thread().join()
    print("running", flush=True)
pool.submit(wait_for_main)
pool.submit(print, "queued")
pool.map(lambda i: print("mapped", i), range(2))
print("main")
"""
    assert printed_by(program) == "main\nrunning\nqueued\nmapped 0\nmapped 1\n"


@pytest.mark.slow
def test_the_end_of_the_program_does_not_wait_for_idle_threads() -> None:
    """Threads that sleep over an empty queue are sent home; what they print is not lost."""
    program = """
pools = [ThreadExecutor(4) for _ in range(3)]
for pool in pools:
    list(pool.map(int, range(8)))
print("main")
"""
    assert printed_by(program) == "main\n"


@pytest.mark.slow
def test_pitfall_19_the_end_of_the_program_is_bounded_and_reported() -> None:
    """One task that never ends holds it for ``drain_timeout``, and is named in the log."""
    program = """
pool = ThreadExecutor(1, name="reports", drain_timeout=0.2)
patient = ThreadExecutor(1, drain_timeout=None)
def hang():
    threading.Event().wait()
def slow():
    threading.main_thread().join()
    print("the patient one is waited for", flush=True)
pool.submit(hang)
pool.submit(int)
patient.submit(slow)
"""
    ended = run(program)
    assert ended.returncode == 0
    assert ended.stdout == "the patient one is waited for\n"
    assert ended.stderr == "'reports' waited 0.2 s for its tasks and left behind: hang, int\n"


@pytest.mark.slow
def test_the_time_to_drain_begins_when_other_threads_have_ended() -> None:
    """A thread that still serves may use the pool as long as it likes."""
    program = """
pool = ThreadExecutor(1, drain_timeout=0.0)
def serve():
    threading.main_thread().join()
    time.sleep(0.1)
    try:
        print(pool.submit(int, "7").result(20))
    except RuntimeError:
        print(7)  # Python 3.12 lets no thread start then
threading.Thread(target=serve).start()
"""
    assert printed_by(program) == "7\n"


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.slow
def test_a_child_of_multiprocessing_ends_like_a_program(method: str) -> None:
    """Such children skip ``atexit``; accepted work is done all the same."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this platform")
    child_program = """
pool = ThreadExecutor(1)
pool.submit(lambda: (threading.main_thread().join(), print("running", flush=True)))
print("main", flush=True)
"""
    program = f"""
import multiprocessing
child = multiprocessing.get_context({method!r}).Process(
    target=exec, args=({HEAD + child_program!r}, {{}})
)
child.start()
child.join()
assert child.exitcode == 0
"""
    assert printed_by(program) == "main\nrunning\n"


@pytest.mark.slow
def test_a_pool_outlives_the_main_thread_of_a_server() -> None:
    """A server may serve in a thread after its main thread has returned; its pool works on.

    Python 3.12 alone lets no thread start then, and the pool says so.
    """
    program = """
pool = ThreadExecutor(2)
pool.submit(int).result(5)
def serve():
    threading.main_thread().join()
    try:
        for i in range(3):
            assert pool.submit(int, i).result(5) == i
        assert ThreadExecutor(1).submit(int, "7").result(5) == 7
        print("served")
    except RuntimeError as error:
        print(error)
threading.Thread(target=serve).start()
"""
    printed = printed_by(program)
    if sys.version_info[:2] == (3, 12):
        assert "'threads' has no thread and cannot start one" in printed
    else:
        assert printed == "served\n"


@pytest.mark.slow
def test_work_handed_in_at_exit_is_done_or_refused() -> None:
    """By what ``atexit`` calls: never accepted and forgotten. From Python 3.12 on it is refused."""
    program = """
import atexit
pool = ThreadExecutor(1)
pool.submit(int).result(20)
def late():
    try:
        print(pool.submit(int, "7").result(20))
    except RuntimeError as error:
        print("'threads' has no thread" in str(error) and 7)
atexit.register(late)
"""
    assert printed_by(program) == "7\n"


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to one process on this platform")
@pytest.mark.slow
def test_pitfall_18_ctrl_c_ends_a_program_that_waits_for_its_tasks() -> None:
    """The second one: the first ends the main thread, and accepted work is waited for."""
    program = """
pool = ThreadExecutor(1, drain_timeout=None)
begun = threading.Event()
def hang():
    begun.set()
    threading.main_thread().join()
    signal.pthread_kill(main, signal.SIGINT)
    threading.Event().wait(60)
main = threading.get_ident()
pool.submit(hang)
assert begun.wait(20)
"""
    ended = run(program)
    assert "KeyboardInterrupt" in ended.stderr


def test_a_dropped_executor_sends_its_threads_home() -> None:
    """An app factory called in a thousand tests does not collect threads."""
    pool = ThreadExecutor(2, name="dropped")
    barrier = threading.Barrier(2, timeout=5)
    list(pool.map(lambda _: barrier.wait(), range(2)))
    threads = [t for t in threading.enumerate() if t.name.startswith("dropped")]
    assert len(threads) == 2
    del pool
    gc.collect()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_a_dropped_executor_finishes_its_work() -> None:
    """Only the future is kept, and it is settled."""
    gate = threading.Event()
    pool = ThreadExecutor(1)
    pool.submit(gate.wait, 5)
    future = pool.submit(int, "7")
    del pool
    gc.collect()
    gate.set()
    assert future.result(5) == 7


def test_the_limit_of_threads_is_not_the_end(
    pool_of: PoolOf, occupy: Occupy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one thread the pool works on; with none the error says what to do."""
    pool, empty = pool_of(4), pool_of(4, name="empty")
    gate = occupy(pool, 1)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    waiting = pool.submit(int, "7")
    with pytest.raises(RuntimeError, match=r"'empty' has no thread .* Lower 'max_workers'"):
        empty.submit(int)
    monkeypatch.undo()
    gate.set()
    assert waiting.result(5) == 7
    assert empty.submit(int, "7").result(5) == 7
