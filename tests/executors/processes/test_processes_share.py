"""An array that many tasks see without a copy, and that is gone when nothing refers to it."""

from __future__ import annotations

import gc
import os
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import buffer_tasks as tasks
import process_tasks as gates
import process_watching as watching
from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.executors.processes.shared_memory import shared_arrays
from flask_concurrency.vocabulary.errors import ExecutorError, ExecutorShutdown, WorkerDied

PoolOf = Callable[..., ProcessExecutor]
MIB = 1 << 20


@pytest.fixture(scope="module")
def one() -> Iterator[ProcessExecutor]:
    """One worker, so that calls follow one another in the same process."""
    with ProcessExecutor(1, name="one", max_shared_memory=16 * MIB) as executor:
        executor.submit(tasks.mapped_bytes).result(30)
        yield executor


@pytest.fixture(autouse=True)
def _nothing_left(one: ProcessExecutor) -> Iterator[None]:
    """No test leaves a shared array behind, neither here nor in the worker."""
    yield
    gc.collect()
    assert one._pool.segments.shared.size == 0
    assert one.submit(tasks.mapped_bytes).result(30) == 0


def numbers(size: int = 2 * MIB) -> Any:
    return np.arange(size // 8, dtype=np.float64)


def test_tasks_see_a_shared_array_and_nothing_is_copied(one: ProcessExecutor) -> None:
    """The array itself, or any part of it in one piece, at any depth of the arguments."""
    original = numbers()
    shared = one.share(original)
    assert (shared == original).all()
    free = one._pool.segments.numbers()
    assert one.submit(tasks.mapped_while, shared).result(30) == 2 * MIB
    for part in (shared, shared[1000:200_000], shared.reshape(2, -1)[1]):
        assert one.submit(tasks.describe, part).result(30)[2] == tasks.sum_of(part)
    assert one.submit(gates.echo, {"deep": [shared, shared[9:]]}).result(30)["deep"][1][0] == 9
    assert free == ()


@pytest.mark.slow
def test_one_array_serves_many_tasks_at_once(pool_of: PoolOf) -> None:
    """Each worker sees the same memory."""
    pool = pool_of(2)
    shared = pool.share(numbers())
    parts = np.array_split(shared, 4)
    assert list(pool.map(tasks.sum_of, parts)) == [tasks.sum_of(part) for part in parts]
    files = set(pool.map(tasks.file_while, [shared] * 4))
    assert len(files) == 1


def test_nothing_can_write_to_it(one: ProcessExecutor) -> None:
    """Neither the caller nor a task; and what is written to the original reaches none of them."""
    original = numbers()
    shared = one.share(original)
    original[0] = 99.0
    with pytest.raises(ValueError, match="read-only"):
        shared[0] = 1.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        shared.flags.writeable = True
    with pytest.raises(ValueError, match="read-only"):
        one.submit(tasks.fill, shared, 1).result(30)
    assert not one.submit(tasks.is_writable, shared).result(30)
    assert shared[0] == 0.0


KINDS: dict[str, Callable[[], Any]] = {
    "bytes": lambda: bytes(range(256)) * 1000,
    "bytearray": lambda: bytearray(200_000),
    "array": lambda: array("d", range(20_000)),
    "memoryview": lambda: np.ones((300, 300), np.int16).data,
    "fortran": lambda: np.asfortranarray(np.arange(90_000).reshape(300, -1)),
    "gaps": lambda: np.arange(90_000).reshape(300, -1)[:, ::2],
    "dates": lambda: np.arange(90_000).astype("datetime64[s]"),
    "records": lambda: np.zeros(20_000, [("x", "f8"), ("n", "i4")]),
    "small": lambda: np.arange(10),
    "empty": lambda: np.zeros((0, 3)),
    "one number": lambda: np.array(3.5),
    "no bytes": lambda: b"",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("room", [16 * MIB, 0])
def test_it_is_what_it_was(kind: str, room: int, one: ProcessExecutor) -> None:
    """Whatever it is, and also where there is no shared memory."""
    executor = one if room else ProcessExecutor(1, max_shared_memory=0)
    value = KINDS[kind]()
    shared = executor.share(value)
    assert memoryview(shared.view(np.uint8) if kind == "dates" else shared).readonly
    if isinstance(value, np.ndarray):
        assert (shared.dtype, shared.shape) == (value.dtype, value.shape)
        assert np.array_equal(shared, value)
    else:
        assert type(shared) is memoryview
        assert shared == memoryview(value)
    if room and kind != "memoryview":
        assert one.submit(tasks.sum_of, shared).result(30) == tasks.sum_of(np.asarray(value))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([1.0, 2.0], r"not list.*numpy.asarray"),
        (np.array([object()]), r"Python objects.*dtype=object"),
        (np.ma.masked_array([1, 2], [True, False]), r"MaskedArray.*numpy.asarray"),
        (memoryview(bytes(200_000))[::2], r"has gaps.*bytes\(view\)"),
    ],
)
def test_what_cannot_be_shared_is_told(one: ProcessExecutor, value: Any, told: str) -> None:
    """And what to share in its place."""
    with pytest.raises(TypeError, match=told):
        one.share(value)


@pytest.mark.slow
def test_it_is_freed_with_the_last_object_that_refers_to_it(pool_of: PoolOf, gate: Any) -> None:
    """A part of it, or a task that has not ended, keeps it."""
    pool, before = pool_of(1), watching.open_segments()
    shared = pool.share(numbers())
    part = shared[5:]
    del shared
    assert pool._pool.segments.shared.size == 2 * MIB
    holds = pool.submit(gates.pass_gate, *gate.paths)
    gate.wait_entered()
    waits = pool.submit(tasks.sum_of, part)
    expected = tasks.sum_of(part)
    del part
    assert pool._pool.segments.shared.size == 0
    gate.open()
    assert (holds.result(30), waits.result(30)) == (None, expected)
    assert pool.submit(tasks.mapped_bytes).result(30) == 0
    assert tasks.mapped_bytes() == 0
    assert watching.open_segments() <= before


@pytest.mark.slow
def test_a_killed_worker_leaks_nothing(pool_of: PoolOf) -> None:
    """Its successor sees the array, too."""
    pool, before = pool_of(1), watching.open_segments()
    shared = pool.share(numbers())
    with pytest.raises(WorkerDied):
        pool.submit(tasks.die_seeing, shared).result(30)
    assert pool.submit(tasks.sum_of, shared).result(30) == tasks.sum_of(shared)
    del shared
    assert watching.open_segments() <= before


def test_an_array_stays_mapped_from_one_task_to_the_next(one: ProcessExecutor) -> None:
    """Each page of a new map costs a fault. A task without the array ends that."""
    shared = one.share(numbers())
    first, second = (one.submit(tasks.address_of, shared).result(30) for _ in range(2))
    assert one.submit(tasks.mapped_bytes).result(30) == 0
    part = one.submit(tasks.address_of, shared[100_000:]).result(30)
    assert first == second
    assert part
    other = one.share(numbers(MIB))
    assert one.submit(tasks.mapped_while, other).result(30) == MIB


@pytest.mark.slow
def test_an_idle_worker_lets_go_of_it(one: ProcessExecutor) -> None:
    """Within a second: the memory of what is dropped is not held until the next task."""
    shared = one.share(numbers())
    pid = one.submit(tasks.pid_seeing, shared).result(30)
    assert watching.wait_until_unmapped(pid, within=30.0)


def test_what_is_shared_is_not_copied_again(one: ProcessExecutor) -> None:
    """A part of it is shared, too."""
    shared = one.share(numbers())
    part = shared[:100_000]
    assert one.share(shared) is shared
    assert one.share(part) is part
    assert one._pool.segments.shared.size == 2 * MIB


def test_a_task_may_keep_it(one: ProcessExecutor) -> None:
    """For as long as it likes; nobody else's memory is taken for that."""
    shared = one.share(np.full(MIB, 7, np.uint8))
    one.submit(tasks.keep, shared).result(30)
    del shared
    assert one.submit(tasks.mapped_bytes).result(30) == MIB
    assert one.submit(tasks.take_kept).result(30) == (True, 7)


def test_there_is_a_bound(one: ProcessExecutor) -> None:
    """That of all shared memory; what is dropped makes room."""
    first = one.share(np.zeros(10 * MIB, np.uint8))
    with pytest.raises(ExecutorError, match=r"'one' cannot share.*8388608 bytes.*16777216"):
        one.share(np.zeros(8 * MIB, np.uint8))
    assert one.submit(len, np.zeros(8 * MIB, np.uint8)).result(30) == 8 * MIB  # by the socket
    del first
    assert len(one.share(np.zeros(12 * MIB, np.uint8))) == 12 * MIB


@pytest.mark.slow
def test_a_shutdown_ends_sharing_and_leaves_the_array(pool_of: PoolOf) -> None:
    """What the application holds stays readable."""
    pool = pool_of(1)
    shared = pool.share(numbers())
    assert pool.submit(len, shared).result(30) == len(shared)
    pool.shutdown()
    assert pool._pool.segments.shared.size == 0
    assert shared[-1] == len(shared) - 1
    with pytest.raises(ExecutorShutdown):
        pool.share(numbers())


def test_more_arrays_than_descriptors_travel_are_copied(one: ProcessExecutor) -> None:
    """The task need not know."""
    arrays = [one.share(np.full(100_000, number, np.uint8)) for number in range(12)]
    assert one.submit(tasks.sums_of, arrays).result(30) == [n * 100_000 for n in range(12)]


def test_inside_a_worker_it_is_a_copy(one: ProcessExecutor) -> None:
    """Tasks of tasks run where they are."""
    assert one.submit(tasks.share_inside, 200_000).result(30) == (False, 200_000)


@pytest.mark.slow
def test_a_forked_child_shares_what_its_parent_shared(pool_of: PoolOf) -> None:
    """As a server's worker does with a model that was loaded before the fork."""
    pool = pool_of(1)
    shared = pool.share(numbers())
    child = os.fork()
    if not child:
        code = 1
        try:
            seen = pool.submit(tasks.mapped_while, shared).result(30)
            code = 0 if seen == 2 * MIB else 2
            pool.shutdown()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_part_is_found_by_its_address() -> None:
    """And nothing beside it."""
    arrays = shared_arrays.SharedArrays()
    shared = arrays.add(shared_arrays.Content(np.arange(100_000, dtype=np.uint8)))
    found = arrays.find(memoryview(shared[10:20]))
    assert found is not None
    assert found[1] == 10
    assert arrays.find(memoryview(bytes(10))) is None
    arrays.clear()
    assert arrays.find(memoryview(shared)) is None
