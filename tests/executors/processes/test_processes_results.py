"""What comes back from worker processes: results and errors, to every kind of waiter."""

from __future__ import annotations

import asyncio
import itertools
import logging
import pickle
import queue
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ALL_COMPLETED, BrokenExecutor, Executor, Future, as_completed, wait
from contextlib import closing
from typing import Any

import pytest

import process_tasks as tasks
from flask_concurrency.executors.processes import (
    ProcessExecutor,
    RemoteTraceback,
    replies,
)
from flask_concurrency.vocabulary.errors import ExecutorError, TaskNotPicklable, WorkerDied


def test_it_is_an_executor(pool: ProcessExecutor) -> None:
    """So it goes wherever the standard library or another one takes an executor."""
    assert isinstance(pool, Executor)
    assert isinstance(pool.submit(abs, -1), Future)


def test_a_call_returns_what_the_function_returns(pool: ProcessExecutor) -> None:
    """Positional and keyword arguments go along, and it runs in another process."""
    assert pool.submit(tasks.add, 1, 2, third=3).result(10) == 6
    assert pool.submit(tasks.worker_pid).result(10) != tasks.worker_pid()


@pytest.mark.parametrize("chunksize", [1, 3, "auto"])
def test_results_of_a_map_can_be_closed_and_are_not_kept(
    pool: ProcessExecutor, chunksize: Any
) -> None:
    """``contextlib.closing`` ends it early, and what was taken is the consumer's alone."""
    results: Any = pool.map(tasks.set_of, range(6), chunksize=chunksize)
    with closing(results):
        first = weakref.ref(next(results))
        assert first() is None
    assert list(results) == []


@pytest.mark.parametrize("chunksize", [1, 3, 50, "auto"])
def test_map_gives_results_in_the_order_of_its_items(pool: ProcessExecutor, chunksize: Any) -> None:
    """However the items are grouped, and however the workers finish."""
    assert list(pool.map(tasks.double, range(20), chunksize=chunksize)) == list(range(0, 40, 2))


def test_a_long_map_of_short_calls_needs_few_tasks(pool: ProcessExecutor) -> None:
    """The chunks grow, and items are taken as results are."""
    taken = []

    def items() -> Iterator[int]:
        for number in range(5_000):
            taken.append(number)
            yield number

    before = pool.snapshot().done
    results = pool.map(tasks.double, items(), chunksize="auto")
    assert len(taken) <= 20
    assert list(results) == list(range(0, 10_000, 2))
    assert pool.snapshot().done - before < 1_000


def test_the_first_error_ends_a_map_of_chosen_chunks(pool: ProcessExecutor) -> None:
    """In place of the results of its chunk."""
    results = pool.map(int, ["1"] * 40 + ["one"] + ["1"] * 4_000, chunksize="auto")
    found: list[int] = []
    with pytest.raises(ValueError, match="'one'"):
        found.extend(iter(results.__next__, None))
    assert list(results) == []


def test_map_takes_items_of_several_iterables(pool: ProcessExecutor) -> None:
    """As ``map`` does: the shortest ends it."""
    assert list(pool.map(tasks.add, [1, 2, 3], itertools.count(10))) == [11, 13, 15]
    assert list(pool.map(tasks.add, [])) == []


def test_an_error_is_raised_with_the_traceback_in_the_worker(pool: ProcessExecutor) -> None:
    """The type and message are the task's own; the text of its traceback is the cause."""
    with pytest.raises(LookupError, match="nothing under 'key'") as caught:
        pool.submit(tasks.fail, "nothing under 'key'").result(10)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    shown = "".join(traceback.format_exception(caught.value))
    assert "process_tasks.py" in shown
    assert "raise LookupError(message)" in shown


def test_an_error_ends_a_map_at_its_place(pool: ProcessExecutor) -> None:
    """What came before it is there, and what comes after it is not asked for."""
    results = pool.map(int, ["1", "2", "x", "4"])
    assert next(results) == 1
    assert next(results) == 2
    with pytest.raises(ValueError, match="'x'"):
        next(results)
    assert list(results) == []


@pytest.mark.parametrize(
    ("task", "arguments", "told"),
    [
        (tasks.raise_local, (), "Local: nobody can import my class"),
        (tasks.leave, (3,), "raised SystemExit: 3.*cannot end the worker"),
        (tasks.interrupt, (), "raised KeyboardInterrupt.*cannot end the worker"),
    ],
)
def test_an_error_that_cannot_cross_arrives_as_text(
    pool: ProcessExecutor, task: Callable[..., Any], arguments: tuple[Any, ...], told: str
) -> None:
    """Neither an odd exception nor an exit in a task harms the worker or the caller."""
    workers = pool.snapshot().workers
    with pytest.raises(ExecutorError, match=told) as caught:
        pool.submit(task, *arguments).result(10)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert pool.snapshot().workers == workers


@pytest.mark.parametrize(
    ("task", "arrives"),
    [
        (tasks.raise_needs_two, tasks.NeedsTwo),  # pickle calls its __init__ with too few
        (tasks.raise_unpicklable, tasks.HoldsLock),  # arrives without the lock
        (tasks.raise_unspeakable, tasks.Unspeakable),
        (tasks.raise_frozen, tasks.Frozen),  # a dataclass that refuses a __cause__
        (tasks.raise_keyword_only, tasks.KeywordOnly),
    ],
)
def test_an_error_of_any_class_arrives_as_itself(
    pool: ProcessExecutor, task: Callable[..., Any], arrives: type[Exception]
) -> None:
    """With its arguments, its attributes as far as they can be sent, and the traceback."""
    with pytest.raises(arrives) as caught:
        pool.submit(task).result(10)
    assert type(caught.value) is arrives
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert task.__name__ in str(caught.value.__cause__)
    if isinstance(caught.value, tasks.KeywordOnly):
        assert (str(caught.value), caught.value.status) == ("teapot", 418)
    if isinstance(caught.value, tasks.Frozen):
        assert caught.value.code == 7


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("raises", [False, True])
def test_a_result_that_exits_when_it_is_rebuilt_does_not_end_the_caller(
    pool: ProcessExecutor, ending: type[BaseException], raises: bool
) -> None:
    """Be it a result or an error: the future fails by an error of ours."""
    with pytest.raises(ExecutorError):
        pool.submit(tasks.end_when_loaded, ending, raises).result(10)
    assert pool.submit(abs, -1).result(10) == 1


def test_a_result_that_exits_when_it_is_pickled_keeps_its_worker(pool: ProcessExecutor) -> None:
    """It is a result that cannot be sent, like any other."""
    killed = pool.snapshot()
    with pytest.raises(TaskNotPicklable, match="SystemExit"):
        pool.submit(tasks.end_when_pickled).result(10)
    assert pool.snapshot().workers == killed.workers


class TimeIsUp(Exception):
    """What a signal handler raises, as that of a time limit does."""


class InterruptedOnce:
    """An argument during whose pickling a signal comes, the first time."""

    def __init__(self) -> None:
        self.signals = [TimeIsUp()]

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        if self.signals:
            raise self.signals.pop()
        return int, (2,)


def test_an_argument_is_not_blamed_for_a_signal(pool: ProcessExecutor) -> None:
    """What a signal handler raises while a call is pickled arrives as it is."""
    with pytest.raises(TimeIsUp):
        pool.submit(abs, InterruptedOnce())  # type: ignore[arg-type] # an int, once there
    assert pool.submit(tasks.double, 2).result(10) == 4


def test_what_strikes_while_a_result_is_rebuilt_is_for_the_caller(
    pool: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler's exception is no fault of the result, which every other waiter gets."""

    class TimeLimit(Exception):
        pass

    original, calls = pickle.loads, []

    def load(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise TimeLimit  # as the handler of SIGALRM would
        return original(*args, **kwargs)

    future = pool.submit(abs, -3)
    monkeypatch.setattr(replies, "loads", load)
    with pytest.raises(TimeLimit):
        future.result(10)
    assert future.result(10) == 3


def test_a_callback_that_exits_does_not_end_an_unrelated_caller(pool: ProcessExecutor) -> None:
    """Callbacks run on a thread of their own, and what they raise is logged there."""
    other = pool.submit(abs, -1)
    called = threading.Event()

    def leave(_: object) -> None:
        called.set()
        raise SystemExit(3)

    other.add_done_callback(leave)
    assert [pool.submit(abs, -n).result(10) for n in range(20)] == list(range(20))
    assert called.wait(10)
    assert other.result(10) == 1


def test_a_running_future_says_so(pool: ProcessExecutor, gate: Any) -> None:
    """In its ``repr`` as well."""
    future = pool.submit(tasks.pass_gate, *gate.paths)
    gate.wait_entered()
    assert "state=running" in repr(future)
    gate.open()
    future.result(10)
    assert "state=finished" in repr(future)


def test_a_dead_worker_is_a_broken_executor_to_code_that_knows_the_standard_library() -> None:
    """``except BrokenExecutor`` goes on working after the move."""
    assert issubclass(WorkerDied, BrokenExecutor)


def test_an_unpicklable_result_is_told(pool: ProcessExecutor) -> None:
    """The error names the function, the type and the remedy, and the worker lives on."""
    with pytest.raises(TaskNotPicklable, match=r"open_file.*TextIOWrapper.*Return plain data"):
        pool.submit(tasks.open_file).result(10)
    assert pool.submit(abs, -1).result(10) == 1


def test_a_result_that_cannot_be_rebuilt_here_is_told(pool: ProcessExecutor) -> None:
    """It fails its own future, whichever thread has read it."""
    with pytest.raises(TaskNotPicklable, match=r"make_exploding.*not at home"):
        pool.submit(tasks.make_exploding).result(10)


@pytest.mark.parametrize("size", [0, 1, 16_384, 65_536, 3_000_000])
def test_large_arguments_and_results_arrive_whole(pool: ProcessExecutor, size: int) -> None:
    """Whatever fits in one read, and whatever does not."""
    value = bytes(size)
    assert pool.submit(tasks.echo, value).result(10) == value
    assert len(pickle.dumps(value)) >= size


def test_what_a_task_prints_does_not_reach_the_pipe(pool: ProcessExecutor) -> None:
    """Not even bytes written to the descriptors of the standard streams."""
    assert pool.submit(tasks.print_a_lot, "x" * 500).result(10) == 500
    assert pool.submit(tasks.read_stdin).result(10) == ""
    assert pool.submit(abs, -1).result(10) == 1


def test_a_context_variable_ends_with_its_task(pool: ProcessExecutor) -> None:
    """The next task in the same worker does not see it."""
    found = list(pool.map(tasks.change_setting, ["a", "b", "c", "d", "e"]))
    assert found == ["unset"] * 5


def test_callbacks_run_though_nobody_waits(pool: ProcessExecutor) -> None:
    """Also those of tasks that had to queue."""
    done = threading.Semaphore(0)
    for _ in range(6):
        pool.submit(abs, -1).add_done_callback(lambda future: done.release())
    for _ in range(6):
        assert done.acquire(timeout=10)


def test_a_callback_may_wait_for_another_task(pool: ProcessExecutor) -> None:
    """The thread that runs a callback holds no worker meanwhile."""
    found: list[int] = []
    finished = threading.Event()

    def follow(future: Future[int]) -> None:
        found.append(future.result() + pool.submit(abs, -2).result(10))
        found.append(others[-1].result(10))
        finished.set()

    others = [pool.submit(abs, -number) for number in range(5)]
    pool.submit(abs, -1).add_done_callback(follow)
    assert finished.wait(10)
    assert found == [3, 4]


def test_a_callback_that_raises_harms_nobody(pool: ProcessExecutor) -> None:
    """Not even one that would end the thread it runs on."""

    def leave(future: Future[int]) -> None:
        raise SystemExit

    pool.submit(abs, -1).add_done_callback(leave)
    assert list(pool.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
    done = threading.Event()
    pool.submit(abs, -1).add_done_callback(lambda future: done.set())
    assert done.wait(10)


def test_a_log_filter_that_raises_harms_nobody(
    pool: ProcessExecutor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that asks for the request, say, which there is none on the pool's own thread."""

    def refuse(record: logging.LogRecord) -> bool:
        raise RuntimeError("Working outside of request context.")

    logger = logging.getLogger("flask_concurrency.processes")
    monkeypatch.setattr(logger, "filters", [refuse])

    def leave(future: Future[int]) -> None:
        raise SystemExit

    pool.submit(abs, -1).add_done_callback(leave)
    assert list(pool.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
    done = threading.Event()
    pool.submit(abs, -1).add_done_callback(lambda future: done.set())
    assert done.wait(10)
    assert "Working outside of request context." in capsys.readouterr().err


def test_a_task_that_nobody_looks_at_frees_its_worker(pool: ProcessExecutor) -> None:
    """Fire and forget: the tasks behind it run, and are counted."""
    before = pool.snapshot().done
    for _ in range(7):
        pool.submit(abs, -1)
    wait([pool.submit(abs, -1) for _ in range(3)], timeout=10)
    assert pool.snapshot().done >= before + 8


def test_as_completed_and_wait_work(pool: ProcessExecutor) -> None:
    """They look at the futures in their own way, and call no ``result``."""
    futures = {pool.submit(tasks.double, number): number for number in range(8)}
    assert {futures[future]: future.result() for future in as_completed(futures, 10)} == {
        number: 2 * number for number in range(8)
    }
    ended, pending = wait([pool.submit(abs, -1) for _ in range(5)], 10, ALL_COMPLETED)
    assert len(ended) == 5
    assert not pending


def test_run_is_awaited_on_any_loop(pool: ProcessExecutor) -> None:
    """Many at once, and their errors are raised where they are awaited."""

    async def fan_out() -> list[int]:
        return list(await asyncio.gather(*(pool.run(tasks.double, n) for n in range(10))))

    async def failing() -> None:
        await pool.run(tasks.fail, "awaited")

    assert asyncio.run(fan_out()) == list(range(0, 20, 2))
    with pytest.raises(LookupError, match="awaited"):
        asyncio.run(failing())


def test_it_serves_as_the_executor_of_a_loop(pool: ProcessExecutor) -> None:
    """``run_in_executor`` takes it as it is."""

    async def on_pool() -> int:
        return await asyncio.get_running_loop().run_in_executor(pool, tasks.double, 21)

    assert asyncio.run(on_pool()) == 42


def test_many_threads_submit_and_wait_at_once(pool: ProcessExecutor) -> None:
    """50 threads with 20 tasks each: every result reaches the thread that asked for it."""
    wrong: list[Any] = []

    def ask(first: int) -> None:
        for number in range(first, first + 20):
            result = pool.submit(tasks.double, number).result(30)
            if result != 2 * number:
                wrong.append((number, result))

    threads = [threading.Thread(target=ask, args=(1000 * number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


def test_several_threads_wait_for_one_task(pool: ProcessExecutor, gate: Any) -> None:
    """One of them reads the reply, and all get it."""
    future = pool.submit(tasks.pass_gate, *gate.paths, value="shared")
    gate.wait_entered()
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(future.result(10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join(10)
    assert found == ["shared"] * 4


def test_a_wait_ends_at_its_timeout(pool: ProcessExecutor, make_gate: Callable[[], Any]) -> None:
    """The task goes on, its result can be had later, and other tasks were not held up."""
    gate, other = make_gate(), make_gate()
    future = pool.submit(tasks.pass_gate, *gate.paths, value="late")
    gate.wait_entered()
    with pytest.raises(TimeoutError):
        future.result(timeout=0.01)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0)
    with pytest.raises(TimeoutError):
        next(pool.map(tasks.pass_gate, *([path] for path in other.paths), timeout=0.0))
    gate.open()
    assert future.result(10) == "late"


def test_a_waiting_thread_is_not_kept_by_a_slower_neighbour(
    pool: ProcessExecutor, make_gate: Callable[[], Any]
) -> None:
    """A thread that reads for several tasks returns as soon as its own is done."""
    slow, quick = make_gate(), make_gate()
    neighbour = pool.submit(tasks.pass_gate, *slow.paths, value="slow")
    mine = pool.submit(tasks.pass_gate, *quick.paths, value="quick")
    slow.wait_entered()
    quick.wait_entered()
    quick.open()
    assert mine.result(10) == "quick"
    assert not neighbour.done()
    slow.open()
    assert neighbour.result(10) == "slow"


def test_exception_returns_what_result_would_raise(pool: ProcessExecutor) -> None:
    """And nothing where nothing was raised."""
    assert pool.submit(abs, -1).exception(10) is None
    assert isinstance(pool.submit(tasks.fail, "x").exception(10), LookupError)


def test_map_with_a_buffer_takes_items_as_results_are_taken(pool: ProcessExecutor) -> None:
    """So its source may be endless."""
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    results = pool.map(tasks.double, numbers(), buffersize=3)
    assert len(taken) == 3
    assert list(itertools.islice(results, 4)) == [0, 2, 4, 6]
    assert len(taken) == 7


def test_a_callback_may_wait_for_what_was_read_along_with_its_own_task(
    pool: ProcessExecutor,
) -> None:
    """A waiting thread may read two replies at once, and complete them one after the other."""
    for _ in range(20):
        first, second = (pool.submit(tasks.double, number) for number in range(2))
        found = call_with_result_of(second, first)
        assert first.result(10) == 0
        assert second.result(10) == 2
        assert found.get(timeout=10) == 2


def call_with_result_of(other: Future[int], future: Future[int]) -> queue.Queue[int]:
    """Have a callback of one future wait for another one, and hand its result over."""
    found: queue.Queue[int] = queue.Queue()
    future.add_done_callback(lambda _: found.put(other.result(10)))
    return found


def test_a_future_that_is_done_is_had_while_its_callbacks_run(pool: ProcessExecutor) -> None:
    """A waiting thread waits for the task, not for what others do about it."""
    entered, leave = threading.Event(), threading.Event()

    def linger(future: Future[int]) -> None:
        entered.set()
        assert leave.wait(10)

    future = pool.submit(tasks.double, 1)
    future.add_done_callback(linger)
    assert entered.wait(10)
    assert future.result(10) == 2
    leave.set()
