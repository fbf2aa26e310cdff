"""Tasks with large arguments and results, for worker processes, which import this by its name."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np

from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.executors.processes.shared_memory import worker_side

Array = np.ndarray[Any, np.dtype[Any]]

kept: list[Any] = []


def describe(value: Any) -> tuple[str, str, int]:
    """Return what arrived: its type, the module of that, and a sum over all of it."""
    return type(value).__name__, type(value).__module__, sum_of(value)


def sum_of(value: Any) -> int:
    """Sum up the bytes of whatever is a buffer."""
    items = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value)
    return int(items.ravel(order="K").view(np.uint8).sum(dtype=np.uint64))


def is_writable(value: Any) -> bool:
    return not memoryview(value).readonly


def fill(array: Array, number: int) -> int:
    """Write to the argument, all over."""
    before = int(array[0])
    array[:] = number
    return before


def keep(array: Array) -> None:
    kept.append(array)


def take_kept() -> tuple[bool, Any]:
    """Return whether what was kept is still of one piece, and what its first item is."""
    (array,) = kept
    kept.clear()
    return bool((array == array[0]).all()), int(array[0])


def fill_and_return(array: Array, number: int) -> Array:
    array[:] = number
    return array


def keep_and_return(array: Array) -> Array:
    kept.append(array)
    return array


def fill_kept(number: int) -> None:
    kept.pop()[:] = number


def parts_of(array: Array) -> dict[str, Any]:
    """Give a result that is made of views of the argument."""
    half = len(array) // 2
    last = array[half:]
    return {"first": array[:half], "last": last, "again": last, "every": array[::2]}


def repeat(array: Array, times: int) -> Array:
    return np.tile(array, times)


def make(size: int, number: int) -> Array:
    return np.full(size, number, np.uint8)


def make_many(count: int, size: int) -> list[bytes]:
    return [bytes([number]) * size for number in range(count)]


def fail_with(array: Array) -> None:
    raise LookupError(f"did not find {len(array)}")


def die_copying(array: Array) -> Array:
    """Give a result, and be killed when the half of it is copied."""

    def copy_half_and_die(target: Any, buffers: Any, places: Any) -> None:
        target[: len(buffers[0]) // 2] = buffers[0][: len(buffers[0]) // 2]
        os.kill(os.getpid(), signal.SIGKILL)

    worker_side.__dict__["copy_in"] = copy_half_and_die
    return array + 1


def write_behind(path: str, array: Array, number: int) -> int:
    """Fork a child that lives on, and that reports what it sees once the test asks."""
    ask, tell = os.path.join(path, "ask"), os.path.join(path, "tell")
    child = os.fork()
    if not child:
        with open(ask, "rb") as asked:
            asked.read(1)
        Path(tell + ".new").write_text(str(int((array == number).sum())))
        os.rename(tell + ".new", tell)
        os._exit(0)
    return child


def mapped_bytes() -> int:
    """Return how much of this process's memory is anonymous files of ours."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if "memfd:flask-concurrency" in line]
    return sum(int(end, 16) - int(start, 16) for start, end in spans)


def mapped_while(array: Array) -> int:
    """Return how much is mapped while a task sees an array."""
    assert len(array)
    return mapped_bytes()


def file_while(array: Array) -> str:
    """Return which anonymous file a task sees an array in."""
    assert len(array)
    lines = Path("/proc/self/maps").read_text().splitlines()
    return next(line.split()[4] for line in lines if "memfd:flask-concurrency" in line)


def sums_of(arrays: list[Array]) -> list[int]:
    return [sum_of(each) for each in arrays]


def die_seeing(array: Array) -> None:
    assert len(array)
    os.kill(os.getpid(), signal.SIGKILL)


def share_inside(size: int) -> tuple[bool, int]:
    """Share an array in a worker, and return whether it is writable, and what a task sees."""
    executor = ProcessExecutor(1)
    shared = executor.share(np.ones(size, np.uint8))
    return not memoryview(shared).readonly, executor.submit(sum_of, shared).result()


def address_of(array: Array) -> int:
    """Return where a task sees an array."""
    return int(array.__array_interface__["data"][0])


def pid_seeing(array: Array) -> int:
    assert len(array)
    return os.getpid()
