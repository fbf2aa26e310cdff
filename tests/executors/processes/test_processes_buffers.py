"""Large arguments and results cross to worker processes in shared memory."""

from __future__ import annotations

import gc
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import buffer_tasks as tasks
import process_tasks as gates
import process_watching as watching
from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.executors.processes.shared_memory import segment_pool
from flask_concurrency.executors.processes.shared_memory.segment_pool import SegmentPool
from flask_concurrency.runtime.deadline import within
from flask_concurrency.runtime.timer_thread import timekeeper
from flask_concurrency.vocabulary.errors import (
    DeadlineExceeded,
    WorkerDied,
)

PoolOf = Callable[..., ProcessExecutor]
MIB = 1 << 20


def segments_of(pool: ProcessExecutor) -> SegmentPool:
    return pool._pool.segments


def free_segments(pool: ProcessExecutor) -> set[int]:
    """Return the numbers of the segments without a reference, after a sweep."""
    segments = segments_of(pool)
    with segments._lock:
        segments._sweep()
        return set(segments._free)


def let_time_pass(future: Any) -> None:
    """Have a task's deadline pass now, on the timekeeper's thread."""
    timekeeper.call_at(0.0, future.task.alarm.callback)


@contextmanager
def executor_of(**options: Any) -> Iterator[ProcessExecutor]:
    """One worker, so that calls follow one another in the same process."""
    with ProcessExecutor(1, **options) as executor:
        executor.submit(tasks.mapped_bytes).result(30)
        yield executor
    assert segments_of(executor).numbers() == ()


@pytest.fixture(scope="module", autouse=True)
def _nothing_left() -> Iterator[None]:
    """Set up first, so this looks last: no shared memory is open or mapped once all have ended.

    Memory is freed when a test says so, and not when it happens to have taken long.
    """
    before = watching.open_segments()  # of the pool that all files share
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(segment_pool, "IDLE", 3600.0)
        yield
    gc.collect()
    assert tasks.mapped_bytes() == 0
    assert watching.open_segments() <= before


@pytest.fixture(scope="module")
def one() -> Iterator[ProcessExecutor]:
    """An executor for most of the tests, because to start one takes longer than they do."""
    with executor_of(name="one") as executor:
        yield executor


@pytest.fixture(scope="module")
def tight() -> Iterator[ProcessExecutor]:
    """One with room for little."""
    with executor_of(name="tight", max_shared_memory=8 * MIB) as executor:
        yield executor


@pytest.fixture(scope="module")
def through_sockets() -> Iterator[ProcessExecutor]:
    """One that shares no memory, as where there is none to share."""
    with executor_of(name="sockets", max_shared_memory=0) as executor:
        yield executor


@pytest.fixture
def anew(one: ProcessExecutor) -> ProcessExecutor:
    """The first one, as if it had shared no memory yet."""
    gc.collect()
    for _ in range(2):
        segments_of(one).trim()
    segments_of(one)._expected.clear()
    assert segments_of(one).numbers() == ()
    return one


@pytest.fixture(params=["one", "through_sockets"])
def either(
    request: pytest.FixtureRequest, one: ProcessExecutor, through_sockets: ProcessExecutor
) -> ProcessExecutor:
    return one if request.param == "one" else through_sockets


def numbers(size: int = 2 * MIB) -> Any:
    return np.arange(size, dtype=np.uint8)


KINDS: dict[str, Callable[[], Any]] = {
    "bytes": lambda: numbers().tobytes(),
    "bytearray": lambda: bytearray(numbers()),
    "memoryview": lambda: memoryview(numbers().tobytes()),
    "floats": lambda: np.arange(MIB // 4, dtype=np.float64),
    "fortran": lambda: np.asfortranarray(np.arange(MIB, dtype=np.int32).reshape(1024, -1)),
    "below the bound": lambda: numbers(100_000),
}


@pytest.mark.parametrize("kind", KINDS)
def test_large_arguments_and_results_are_what_they_were(either: ProcessExecutor, kind: str) -> None:
    """The same type, the same bytes, in the task and back again."""
    value = KINDS[kind]()
    name, module, total = either.submit(tasks.describe, value).result(30)
    assert (name, module) == (type(value).__name__, type(value).__module__)
    assert total == tasks.sum_of(value)
    back = either.submit(gates.echo, value).result(30)
    assert type(back) is type(value)
    assert np.array_equal(np.asarray(back), np.asarray(value))
    assert memoryview(back).readonly == memoryview(value).readonly


def test_whatever_is_large_crosses_in_a_segment(one: ProcessExecutor) -> None:
    """Buffers deep in an object, and a stream that is large for other reasons."""
    nested = {"name": "picture", "rows": [numbers(), (numbers(), b"small")]}
    back = one.submit(gates.echo, nested).result(30)
    assert back["name"] == "picture"
    assert (back["rows"][1][0] == numbers()).all()
    assert segments_of(one).expected("process_tasks.echo") == 4 * MIB
    many = one.submit(tasks.make_many, 40, 60_000).result(30)
    assert many == tasks.make_many(40, 60_000)
    assert segments_of(one).expected("buffer_tasks.make_many") > 2 * MIB
    assert list(one.map(len, [nested["rows"]] * 3, chunksize=3)) == [2, 2, 2]


def test_nothing_small_takes_shared_memory(anew: ProcessExecutor) -> None:
    """It would cost more than it spares."""
    assert anew.submit(gates.echo, b"x" * 1000).result(30) == b"x" * 1000
    assert len(anew.submit(gates.echo, numbers(900_000)).result(30)) == 900_000
    assert segments_of(anew).numbers() == ()


def test_a_task_that_writes_to_its_argument_changes_nobody_elses(either: ProcessExecutor) -> None:
    """Neither the caller's array nor what the next task gets."""
    array = np.full(2 * MIB, 1, np.uint8)
    assert either.submit(tasks.fill, array, 77).result(30) == 1
    assert (array == 1).all()
    assert either.submit(tasks.fill, np.full(2 * MIB, 2, np.uint8), 78).result(30) == 2


def test_an_argument_is_what_it_was_when_it_was_submitted(
    tight: ProcessExecutor, gate: Any
) -> None:
    """Though its task waited while the caller went on writing to it; with and without room."""
    blocked = tight.submit(gates.pass_gate, *gate.paths)
    gate.wait_entered()
    array = np.zeros(2 * MIB, np.uint8)
    waiting = []
    for number in range(5):
        array[:] = number
        waiting.append(tight.submit(tasks.describe, array))
    array[:] = 99
    gate.open()
    blocked.result(30)
    assert [future.result(30)[2] for future in waiting] == [n * 2 * MIB for n in range(5)]


def test_the_same_memory_serves_one_task_after_the_other(one: ProcessExecutor) -> None:
    """A segment is made once, and mapped once in each worker."""
    array = numbers(3 * MIB)
    for _ in range(2):
        one.submit(tasks.describe, array).result(30)
    segments, mapped = segments_of(one).numbers(), one.submit(tasks.mapped_bytes).result(30)
    for _ in range(5):
        one.submit(tasks.describe, array).result(30)
    assert segments_of(one).numbers() == segments
    assert one.submit(tasks.mapped_bytes).result(30) == mapped


def test_results_are_written_where_memory_is_free(anew: ProcessExecutor) -> None:
    """In the memory of the arguments, or in a segment of an earlier result."""
    array = numbers(2 * MIB)
    for _ in range(4):
        assert (anew.submit(np.add, array, 1).result(30) == array + 1).all()
    assert len(segments_of(anew).numbers()) == 1
    for number in range(4):
        assert (anew.submit(tasks.make, 2 * MIB, number).result(30) == number).all()
    assert len(segments_of(anew).numbers()) == 2


def test_a_result_may_be_larger_than_any_argument(either: ProcessExecutor) -> None:
    """It does not fit where the arguments were."""
    back = either.submit(tasks.repeat, numbers(), 8).result(30)
    assert (back == np.tile(numbers(), 8)).all()


def test_a_result_may_be_made_of_views_of_the_argument(either: ProcessExecutor) -> None:
    """Each is whole, though they lie where the argument did; the same one twice is one again."""
    array = numbers(3 * MIB)
    back = either.submit(tasks.parts_of, array).result(30)
    assert (np.concatenate([back["first"], back["last"]]) == array).all()
    assert back["again"] is back["last"]
    assert (back["every"] == array[::2]).all()


def test_results_live_on_while_others_come(one: ProcessExecutor) -> None:
    """No later task writes where an earlier result lies, nor does the task that made it."""
    results = [one.submit(tasks.make, 2 * MIB, number).result(30) for number in range(8)]
    filled = one.submit(tasks.fill_and_return, numbers(), 200).result(30)
    for number, result in enumerate(results):
        assert (result == number).all()
    results[0][:] = 100  # and they are the caller's own
    assert (results[1] == 1).all()
    assert (filled == 200).all()
    part = results[5][10:20].copy(), results[5][20:30]
    del results
    for number in range(5):
        one.submit(tasks.make, 2 * MIB, 50 + number).result(30)
    assert (part[0] == 5).all()
    assert (part[1] == 5).all()


def test_what_a_task_keeps_is_never_overwritten(one: ProcessExecutor) -> None:
    """Its memory is left to the worker, and the next task gets other memory."""
    one.submit(tasks.keep, np.full(2 * MIB, 7, np.uint8)).result(30)
    for number in range(20, 26):
        one.submit(tasks.fill, np.full(2 * MIB, number, np.uint8), 99).result(30)
    assert one.submit(tasks.take_kept).result(30) == (True, 7)


def test_what_a_task_keeps_and_returns_are_two_things(one: ProcessExecutor) -> None:
    """A worker that goes on writing to its argument does not write to the caller's result."""
    back = one.submit(tasks.keep_and_return, np.full(2 * MIB, 8, np.uint8)).result(30)
    one.submit(tasks.fill_kept, 99).result(30)
    assert (back == 8).all()


def test_what_a_forked_child_of_a_task_sees_is_never_overwritten(
    one: ProcessExecutor, tmp_path: Any
) -> None:
    """The owner cannot learn when the child ends."""
    os.mkfifo(tmp_path / "ask")
    one.submit(tasks.write_behind, str(tmp_path), np.full(2 * MIB, 9, np.uint8), 9).result(30)
    for number in range(20, 24):
        one.submit(tasks.fill, np.full(2 * MIB, number, np.uint8), 99).result(30)
    (tmp_path / "ask").write_bytes(b"\0")
    one.submit(gates.wait_for_file, str(tmp_path / "tell")).result(30)
    assert (tmp_path / "tell").read_text() == str(2 * MIB)


def test_an_error_gives_the_arguments_memory_back(one: ProcessExecutor) -> None:
    """Though its traceback referred to them."""
    for _ in range(3):
        with pytest.raises(LookupError, match=f"did not find {2 * MIB}"):
            one.submit(tasks.fail_with, numbers()).result(30)
    assert free_segments(one) == set(segments_of(one).numbers())


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_a_task_that_never_ran_gives_its_memory_back(
    anew: ProcessExecutor, gate: Any, how: str
) -> None:
    """Taken back in the queue, in time or not."""
    blocked = anew.submit(gates.pass_gate, *gate.paths)
    gate.wait_entered()
    with within(3600):
        waiting = anew.submit(tasks.describe, numbers())
    assert free_segments(anew) == set()
    if how == "cancelled":
        assert waiting.cancel()
    else:
        let_time_pass(waiting)
        with pytest.raises(DeadlineExceeded):
            waiting.result(30)
    del waiting
    gate.open()
    blocked.result(30)
    gc.collect()
    assert free_segments(anew) == set(segments_of(anew).numbers()) != set()


@pytest.mark.parametrize("how", ["crash while it copies", "deadline"])
def test_the_memory_of_a_killed_worker_is_not_used_again(
    anew: ProcessExecutor, gate: Any, how: str
) -> None:
    """What it did to it, and who else looks at it, is not known. The next task fares well."""
    anew.submit(tasks.describe, numbers()).result(30)
    before = segments_of(anew).numbers()
    if how == "deadline":
        with within(3600):
            killed = anew.submit(gates.pass_gate, *gate.paths, value=numbers())
        gate.wait_entered()
        let_time_pass(killed)
        with pytest.raises(DeadlineExceeded):
            killed.result(30)
    else:
        with pytest.raises(WorkerDied):
            anew.submit(tasks.die_copying, numbers()).result(30)
    assert (anew.submit(np.add, numbers(), 1).result(30) == numbers() + 1).all()
    gc.collect()
    assert free_segments(anew).isdisjoint(before)
    assert before
    assert len(segments_of(anew).numbers()) == 1


def test_memory_is_bounded_and_the_rest_goes_through_the_socket(tight: ProcessExecutor) -> None:
    """However much is under way, and whatever the application keeps."""
    kept = []
    for result in tight.map(gates.echo, [np.full(3 * MIB, n, np.uint8) for n in range(12)]):
        kept.append(result)
        assert segments_of(tight).size <= 8 * MIB
    assert [int(result[0]) for result in kept] == list(range(12))
    assert all((result == result[0]).all() for result in kept)
    assert len(tight.submit(gates.echo, bytes(9 * MIB)).result(30)) == 9 * MIB


def test_idle_memory_is_freed_in_the_workers_too(anew: ProcessExecutor) -> None:
    """They still have it mapped, and it is gone all the same; what they map next is new."""
    anew.submit(tasks.describe, numbers()).result(30)
    for _ in range(2):
        segments_of(anew).trim()
    assert segments_of(anew).numbers() == ()
    assert anew.submit(tasks.mapped_bytes).result(30) == 2 * MIB
    assert anew.submit(tasks.describe, numbers(3 * MIB)).result(30)[2] > 0
    assert anew.submit(tasks.mapped_bytes).result(30) == 3 * MIB


def test_results_outlive_the_executor(pool_of: PoolOf, gate: Any) -> None:
    """They are the application's; all else is gone at the shutdown, what still waits included."""
    pool = pool_of(1)
    result = pool.submit(tasks.make, 2 * MIB, 3).result(30)
    blocked = pool.submit(gates.pass_gate, *gate.paths)
    gate.wait_entered()
    waiting = pool.submit(tasks.describe, numbers())
    pool.shutdown(wait=False, cancel_futures=True)
    gate.open()
    pool.shutdown()
    assert blocked.done()
    assert waiting.cancelled()
    assert segments_of(pool).numbers() == ()
    assert (result == 3).all()


def test_results_survive_a_fork_of_their_owner(one: ProcessExecutor) -> None:
    """Parent and child have their own from then on, as of all other memory."""
    result = one.submit(tasks.make, 2 * MIB, 4).result(30)
    told, tell = os.pipe()
    ask, asked = os.pipe()
    child = os.fork()
    if not child:
        os.read(ask, 1)
        seen = bool((result == 4).all())
        result[:] = 5
        os.write(tell, b"yes" if seen else b"no")
        os._exit(0)
    result[:] = 6
    del result
    for number in range(20, 24):
        one.submit(tasks.make, 2 * MIB, number).result(30)
    os.write(asked, b"\0")
    assert os.read(told, 3) == b"yes"
    os.waitpid(child, 0)
    for descriptor in (told, tell, ask, asked):
        os.close(descriptor)


def test_nothing_has_a_name_in_shared_memory(one: ProcessExecutor) -> None:
    """So nothing can be left behind there, nor fill it up."""
    before = watching.names_in_shared_memory()
    back = one.submit(gates.echo, numbers()).result(30)
    assert watching.names_in_shared_memory() <= before
    assert len(back) == 2 * MIB


def test_a_pickle_buffer_is_carried_as_such(one: ProcessExecutor) -> None:
    """The standard form for libraries that have large buffers of their own."""
    arrived = one.submit(tasks.describe, pickle.PickleBuffer(bytes(2 * MIB))).result(30)
    assert arrived == ("memoryview", "builtins", 0)
