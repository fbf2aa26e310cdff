"""The end of the loop: nothing new, nothing left, no caller kept waiting."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from event_loops import until
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.vocabulary.errors import ExecutorError, ExecutorShutdown, LoopBlocked


async def nothing() -> None:
    """End at once."""


async def make_event() -> asyncio.Event:
    return asyncio.Event()


def test_work_after_shutdown_is_refused(loop: LoopThread) -> None:
    """``run`` and ``spawn`` say so, and leave no unawaited coroutine."""
    loop.run(nothing())
    assert loop.shutdown()
    with pytest.raises(ExecutorShutdown, match="'nothing' refused"):
        loop.run(nothing())
    with pytest.raises(ExecutorShutdown, match="'nothing' refused"):
        loop.spawn(nothing())
    assert not loop.snapshot().alive
    with pytest.raises(ExecutorShutdown, match="'news' refused"):
        loop.spawn(nothing(), name="news")


def test_a_loop_without_a_thread_to_spare_refuses_work(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coroutine is closed, and the loop starts as soon as it can."""

    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        for start in (loop.run, loop.spawn):
            with pytest.raises(ExecutorError, match=r"'nothing' refused.*can't start new thread"):
                start(nothing())
    loop.run(nothing())


def test_shutdown_before_first_use_starts_nothing() -> None:
    """A loop that was never used ends as it was, and stays ended."""
    loop = LoopThread()
    assert loop.shutdown()
    assert loop.shutdown()
    with pytest.raises(ExecutorShutdown):
        loop.run(nothing())
    assert loop.snapshot().alive is False


def test_shutdown_cancels_what_is_left_and_waits_for_its_end(loop: LoopThread) -> None:
    """A spawned task's ``finally``, awaits included, has run when shutdown returns."""
    ended = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    task = loop.spawn(wait())
    loop.run(nothing())
    assert loop.shutdown()
    assert ended == [True]
    assert task.cancelled()


def test_a_waiting_caller_is_told_of_the_shutdown(loop: LoopThread) -> None:
    """It gets ExecutorShutdown, not a cancellation it did not ask for."""
    begun = threading.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as pool:
        caller = pool.submit(lambda: loop.run(wait()))
        assert begun.wait(5)
        assert loop.shutdown()
        assert isinstance(caller.exception(5), ExecutorShutdown)


def test_draining_lets_tasks_finish(loop: LoopThread) -> None:
    """Within ``drain`` seconds a task that can end does, and shutdown waits no longer than it."""
    event = loop.run(make_event())
    ended = []

    async def wait() -> None:
        await event.wait()
        ended.append(True)

    async def let_go_when_draining() -> None:
        await until(refused.is_set)
        event.set()

    refused = threading.Event()
    loop.spawn(wait())
    loop.spawn(let_go_when_draining())
    with ThreadPoolExecutor(1) as pool:
        shutdown = pool.submit(loop.shutdown, drain=60.0)
        while not refused.is_set():
            try:
                loop.run(nothing())
            except ExecutorShutdown:
                refused.set()
        assert shutdown.result(5)
    assert ended == [True]


def test_a_task_that_will_not_end_holds_up_neither_shutdown_nor_its_caller(
    loop: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    """Shutdown answers False and names it; its caller is released."""
    begun, stubborn = threading.Event(), threading.Event()

    async def refuse_to_end() -> None:
        begun.set()
        while not stubborn.is_set():
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                continue

    with ThreadPoolExecutor(1) as pool:
        caller = pool.submit(lambda: loop.run(refuse_to_end()))
        assert begun.wait(5)
        assert not loop.shutdown(timeout=0.01)
        assert isinstance(caller.exception(5), ExecutorShutdown)
    assert "refuse_to_end" in caplog.text
    stubborn.set()


def test_asynchronous_generators_are_closed(loop: LoopThread) -> None:
    """A generator that was left half-way runs its ``finally``."""
    closed = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    generator = numbers()

    async def take_one() -> int:
        return await anext(generator)

    assert loop.run(take_one()) == 1
    assert loop.shutdown()
    assert closed == [True]


def test_shutdown_on_the_loop_itself_raises(loop: LoopThread) -> None:
    """The thread cannot wait for its own end."""

    async def view() -> None:
        loop.shutdown()

    with pytest.raises(LoopBlocked, match="'shutdown' would be waited for"):
        loop.run(view())
    loop.run(nothing())


def test_a_broken_loop_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """A selector that fails ends one loop, not all asynchronous views for good."""
    made: list[BreakOnce] = []

    class BreakOnce(asyncio.SelectorEventLoop):
        def run_forever(self) -> None:
            if made == [self]:
                made.append(self)
                raise OSError("bad file descriptor")
            super().run_forever()

    def make() -> BreakOnce:
        made.append(BreakOnce())
        return made[-1]

    loop = LoopThread(loop_factory=make)
    with pytest.raises(ExecutorShutdown):
        loop.run(nothing())
    loop.run(nothing())
    assert made[-1] is not made[0]
    assert "The event loop broke" in caplog.text
    assert loop.shutdown()


def test_a_forgotten_loop_ends_its_thread() -> None:
    """An application that is collected takes its loop along, so test suites do not pile them up."""
    loop = LoopThread(name="forgotten")
    loop.run(nothing())
    [thread] = [t for t in threading.enumerate() if t.name == "forgotten"]
    del loop
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.slow
def test_the_end_of_the_interpreter_runs_clean_ups() -> None:
    """A daemon thread alone would be frozen in the middle; the exit waits for ``finally``."""
    program = """
import asyncio
from flask_concurrency.executors.loop import LoopThread

async def wait():
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaned up")

async def nothing():
    pass

loop = LoopThread(drain_timeout=0.01)
loop.spawn(wait())
loop.run(nothing())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "cleaned up\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("is_child", [False, True])
def test_the_end_of_a_process_waits_for_what_was_spawned(is_child: bool) -> None:
    """That of a child of ``multiprocessing``, too, which is what some servers' workers are."""
    program = f"""
import asyncio, multiprocessing, sys
from flask_concurrency.executors.loop import LoopThread

async def work():
    await asyncio.sleep(0.05)
    print("finished", flush=True)

loop = LoopThread()

def serve():
    loop.spawn(work())

def run_in_child():
    child = multiprocessing.get_context("fork").Process(target=serve)
    child.start()
    child.join()
    return child.exitcode

sys.exit(run_in_child() if {is_child} else serve())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "finished\n", "")
