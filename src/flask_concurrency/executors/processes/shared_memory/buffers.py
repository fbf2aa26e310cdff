"""Decide which buffers of an object are pickled beside the stream instead of in it.

Knows no process and no shared memory: a pickle is bytes, and buffers that belong to it.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final, NamedTuple, TypeAlias

BESIDE: Final = 1 << 16
"""Bytes of a buffer from which on it stays out of the stream, which would copy it twice."""

RAW: Final = frozenset({bytes, bytearray, memoryview})
"""Types of which pickle itself makes no buffers."""
_FORMATS: Final = frozenset("cbB?hHiIlLqQnNefdP")


Pickled: TypeAlias = "tuple[bytes, list[memoryview]]"
"""An object's pickle: the stream, and the buffers that it refers to, in their order. A plain tuple,
since one is made for every call and for every result."""


class Opened(NamedTuple):
    """A pickle that has arrived. Its buffers are views of where they arrived."""

    stream: bytes | bytearray | memoryview
    buffers: Sequence[memoryview] = ()


def goes_beside(buffer: pickle.PickleBuffer, buffers: list[memoryview]) -> bool:
    """Append a buffer that is large and in one piece, and return whether it is."""
    try:
        raw = buffer.raw()
    except BufferError:  # not in one piece
        return False
    if raw.nbytes < BESIDE:
        return False
    buffers.append(raw)
    return True


def with_raw(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Put stand-ins where arguments are large bytes or views; the call gets the same as ever."""
    made: dict[int, RawBuffer] = {}

    def stand_in(value: Any) -> Any:
        if not _needs_stand_in(value):
            return value
        # The same object twice arrives as one object, as everywhere in a pickle.
        return made.setdefault(id(value), RawBuffer(value))

    return tuple(map(stand_in, args)), {key: stand_in(value) for key, value in kwargs.items()}


def raw_or_same(value: Any) -> Any:
    """Put a stand-in in the place of one value, if it needs one."""
    return RawBuffer(value) if type(value) in RAW and _needs_stand_in(value) else value


class RawBuffer:
    """Stands for bytes, a bytearray or a memoryview in a pickle, and is rebuilt as that."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | bytearray | memoryview) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        value = self._value
        buffer = pickle.PickleBuffer(value)
        if isinstance(value, memoryview):
            return rebuild_view, (buffer, value.format, value.shape)
        return type(value), (buffer,)


def rebuild_view(buffer: Any, format: str, shape: tuple[int, ...]) -> memoryview:
    """Make a view of the same items on other memory."""
    view = memoryview(buffer)
    if len(shape) == 1:
        return view if format == "B" else view.cast(format)  # type: ignore[call-overload]
    return view.cast(format, shape)  # type: ignore[call-overload, no-any-return]


def _needs_stand_in(value: Any) -> bool:
    kind = type(value)
    if kind is bytes or kind is bytearray:
        return len(value) >= BESIDE
    if kind is not memoryview or not value.c_contiguous:
        return False
    return is_rebuilt(value)  # the rest is refused, as pickle refuses all views


def is_rebuilt(view: memoryview) -> bool:
    """Whether ``memoryview.cast`` can rebuild a view on other memory, item by item."""
    if view.format not in _FORMATS or view.shape is None or not view.ndim:
        return False
    return view.ndim == 1 or prod(view.shape) > 0
