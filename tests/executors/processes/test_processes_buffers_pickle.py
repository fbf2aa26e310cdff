"""What is pickled beside the stream, and what it becomes."""

from __future__ import annotations

import pickle
from array import array
from typing import Any

import numpy as np
import pytest

from flask_concurrency.executors.processes.payloads import dump
from flask_concurrency.executors.processes.shared_memory.buffers import (
    BESIDE,
    raw_or_same,
    with_raw,
)

ITEMS = array("d", range(BESIDE // 8))


def load(value: object) -> Any:
    """Send a value through a pickle; the buffers arrive in other memory, as they do in a worker."""
    stream, buffers = dump(value)
    return pickle.loads(stream, buffers=[bytearray(buffer) for buffer in buffers])


@pytest.mark.parametrize("length", [0, 1, BESIDE - 1, BESIDE, 3 * BESIDE])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_arrive_as_what_they_were(kind: type, length: int) -> None:
    """Whether they are large enough to be carried beside the stream or not."""
    value = kind(bytes(range(256)) * (length // 256) + b"x" * (length % 256))
    arrived = load(raw_or_same(value))
    assert type(arrived) is kind
    assert arrived == value
    stream, buffers = dump(raw_or_same(value))
    assert [len(buffer) for buffer in buffers] == ([length] if length >= BESIDE else [])
    assert len(stream) < length or length < BESIDE


@pytest.mark.parametrize(
    "view",
    [
        memoryview(ITEMS),
        memoryview(ITEMS).toreadonly(),
        memoryview(ITEMS)[5:],
        memoryview(bytes(ITEMS)).cast("d", (2, len(ITEMS) // 2)),
        memoryview(b""),
    ],
    ids=["items", "read-only", "a part", "two dimensions", "empty"],
)
def test_a_view_keeps_its_items_and_its_shape(view: memoryview[Any]) -> None:
    """And whether it may be written to."""
    arrived = load(raw_or_same(view))
    assert (arrived.format, arrived.shape, arrived.readonly) == (
        view.format,
        view.shape,
        view.readonly,
    )
    assert arrived == view


def test_a_view_with_gaps_is_refused_as_ever() -> None:
    """It is no buffer in one piece; pickle has no form for it."""
    with pytest.raises(TypeError, match=r"cannot pickle '?memoryview"):
        dump(raw_or_same(memoryview(ITEMS)[::2]))


@pytest.mark.parametrize("writable", [True, False])
def test_an_array_keeps_whether_it_is_writable(writable: bool) -> None:
    """A read-only one arrives read-only."""
    value = np.arange(BESIDE)
    value.flags.writeable = writable
    arrived = load(value)
    assert (arrived == value).all()
    assert arrived.flags.writeable is writable


@pytest.mark.parametrize(
    "part", [np.s_[::2], np.s_[:, ::3], np.s_[::-1], np.s_[5:]], ids=["rows", "columns", "-1", "5:"]
)
def test_parts_of_an_array_arrive_whole(part: Any) -> None:
    """Those with gaps are copied into the stream, by NumPy."""
    value = np.arange(BESIDE).reshape(-1, 64)[part]
    assert (load(value) == value).all()


def test_buffers_are_not_copied_before_they_are_placed() -> None:
    """What ``dump`` gives is the array's own memory."""
    value = np.zeros(BESIDE, np.uint8)
    _, (buffer,) = dump(value)
    value[7] = 9
    assert buffer[7] == 9


def test_the_same_bytes_twice_are_carried_once_and_arrive_as_one_object() -> None:
    """As everything in a pickle that is there twice."""
    data = bytearray(BESIDE)
    args, kwargs = with_raw((data, 1, data), {"third": data})
    stream, buffers = dump((args, kwargs))
    assert len(buffers) == 1
    (first, one, second), rest = pickle.loads(stream, buffers=[bytearray(buffers[0])])
    assert first is second is rest["third"]
    assert one == 1
