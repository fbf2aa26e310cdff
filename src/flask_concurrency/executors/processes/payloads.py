"""Decide how a call crosses to a worker, and who is to blame if it cannot. Knows no worker."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask_concurrency.executors.processes.main_script import MainScript, find_main, loads
from flask_concurrency.executors.processes.shared_memory.buffer_message import SHARED
from flask_concurrency.executors.processes.shared_memory.buffers import (
    dump,
    is_raw,
    raw_or_same,
    with_raw,
)
from flask_concurrency.executors.processes.shared_memory.owner_side import CallParcel
from flask_concurrency.executors.processes.shared_memory.segment_pool import Arena
from flask_concurrency.executors.processes.shared_memory.worker_side import ReplyParcel
from flask_concurrency.executors.processes.wire import ERROR, RESULT
from flask_concurrency.vocabulary.errors import ExecutorError, TaskNotPicklable

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ChunkedCall:
    """Call a function once for each item of a chunk, in one task."""

    fn: Callable[..., Any]

    def __call__(self, chunk: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the results in order."""
        return [self.fn(*args) for args in chunk]


def encode_call(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], arena: Arena
) -> bytes:
    """Pickle a call.

    :param arena: Has room for the call's large buffers, perhaps.
    :raises TaskNotPicklable: The function or an argument cannot be pickled; the message says
        which, why, and what to do.
    """
    try:
        if is_raw(args) or (kwargs and is_raw(kwargs.values())):
            stream, buffers = dump((fn, *with_raw(args, kwargs)))
        else:
            stream, buffers = dump((fn, args, kwargs))
    except Exception as error:
        raise TaskNotPicklable(_blame(fn, args, kwargs, error)) from error
    if getattr(fn, "__module__", None) == "__main__" and find_main() is None:
        raise TaskNotPicklable(
            f"{name_of(fn)!r} is defined in __main__, which is no file that a worker could "
            "import. Move it to a module and import it from there."
        )
    expected = arena.expected(name_of(fn)) if arena.expects else 0
    if buffers or expected or len(stream) >= SHARED:
        return CallParcel.pack((stream, buffers), arena, expected)
    return stream


def decode_call(
    stream: bytes | bytearray | memoryview,
    buffers: Sequence[memoryview],
    script: MainScript | None,
) -> Call:
    """Unpickle a call, importing the owner's script if the call needs a name in it.

    :param buffers: What the pickle's stream refers to.
    :raises TaskNotPicklable: Something in it cannot be imported or rebuilt here.
    """
    try:
        call: Call = loads(stream, script, buffers)
    except (TaskNotPicklable, MemoryError):
        raise
    except Exception as error:
        raise TaskNotPicklable(
            f"A worker process cannot rebuild a task: {_line(error)}. Its function and the "
            "classes of its arguments must be importable there, by the same name as here."
        ) from error
    return call


def name_of(fn: Any) -> str:
    """Name a callable the way a reader finds it: ``reports.render``."""
    fn = _plain(fn)
    name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    module = getattr(fn, "__module__", None)
    return f"{module}.{name}" if module else str(name)


def cannot_pickle(value: object) -> str | None:
    """Say why ``value`` cannot be pickled; ``None`` if it can."""
    try:
        dump(raw_or_same(value))
    except Exception as error:
        return _line(error)
    return None


def _plain(fn: Any) -> Any:
    while isinstance(fn, (partial, ChunkedCall)):
        fn = fn.func if isinstance(fn, partial) else fn.fn
    return fn


def _blame(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception
) -> str:
    if isinstance(fn, ChunkedCall):
        for item in args[0]:
            if cannot_pickle((fn.fn, item)):
                return _blame(fn.fn, item, {}, error)
    name = name_of(fn)
    if reason := cannot_pickle(fn):
        return f"{name!r} cannot be sent to a worker process: {reason}. {_remedy(fn)}"
    places = [(f"Argument {index}", value) for index, value in enumerate(args, 1)]
    places += [(f"Argument {key!r}", value) for key, value in kwargs.items()]
    for place, value in places:
        if reason := cannot_pickle(value):
            return (
                f"{place} of {name!r} ({type(value).__qualname__}) cannot be sent to a worker "
                f"process: {reason}. Pass plain data, or what the task needs to make it there."
            )
    return f"The call of {name!r} cannot be sent to a worker process: {_line(error)}."


def _remedy(fn: Callable[..., Any]) -> str:
    plain = _plain(fn)
    qualname = getattr(plain, "__qualname__", "")
    if "<lambda>" in qualname:
        return "Write the lambda as a function, with def at the top level of a module."
    if "<locals>" in qualname:
        return "Define it at the top level of a module and pass what it encloses as arguments."
    if plain is not fn and not cannot_pickle(plain):
        return "It is what functools.partial has bound that cannot be sent: bind plain data."
    owner = getattr(plain, "__self__", None)
    if owner is not None and cannot_pickle(owner):
        return (
            f"A method takes its object along ({type(owner).__qualname__}). Write a function of a "
            "module that is given plain data."
        )
    return (
        "A worker imports it by its name: define it at the top level of a module, under that "
        "name (a decorator that replaces it needs functools.wraps and the same name)."
    )


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".: ")


class RemoteTraceback(Exception):
    """The traceback in the worker, as text: the ``__cause__`` of an error that came from there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def encode_result(value: object, fn: Callable[..., Any]) -> tuple[int, bytes]:
    """Pickle what a task returned; if that cannot be, the error that says so."""
    try:
        stream, buffers = dump(raw_or_same(value))
        if buffers or len(stream) >= SHARED:
            return RESULT, ReplyParcel.pack((stream, buffers))
        return RESULT, stream
    except MemoryError:
        raise
    except Exception as error:
        refusal = TaskNotPicklable(
            f"The result of {name_of(fn)!r} ({type(value).__qualname__}) cannot be sent back from "
            f"the worker process: {type(error).__name__}: {error}. Return plain data."
        )
        refusal.__cause__ = error
        return encode_error(refusal)


def encode_error(error: BaseException) -> tuple[int, bytes]:
    """Pickle what a task raised, with its traceback as text, so that it always arrives.

    An exception that cannot be pickled, or not be rebuilt on the other side, arrives as an
    ``ExecutorError`` with its type, message and traceback. So does one that is no ``Exception``:
    the task's ``sys.exit()`` must not end the process that asked for the task.
    """
    # The first entry is the line of the worker's loop that made the call.
    entry = error.__traceback__.tb_next if error.__traceback__ is not None else None
    text = "".join(traceback.format_exception(type(error), error, entry))
    try:
        message = str(error)
    except Exception:  # whatever a class of the application does in __str__
        message = "(its text cannot be made)"
    pickled = None
    if isinstance(error, Exception) and cannot_pickle(error) is None:
        pickled = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    fatal = not isinstance(error, Exception)
    return ERROR, pickle.dumps((pickled, fatal, kind, message, text), pickle.HIGHEST_PROTOCOL)


def decode_result(
    stream: bytes | bytearray | memoryview,
    fn: Callable[..., Any],
    buffers: Sequence[memoryview] = (),
) -> Any:
    """Unpickle what a task returned.

    :param buffers: What the pickle's stream refers to.
    :raises TaskNotPicklable: It cannot be rebuilt here.
    """
    try:
        return pickle.loads(stream, buffers=buffers)
    except Exception as error:
        raise TaskNotPicklable(
            f"The result of {name_of(fn)!r} came back but cannot be rebuilt here: "
            f"{type(error).__name__}: {error}. Return plain data, or make its class importable "
            "in this process."
        ) from error


def decode_error(payload: bytes | bytearray | memoryview, fn: Callable[..., Any]) -> Exception:
    """Rebuild what a task raised, its traceback in the worker as ``__cause__``."""
    pickled, fatal, kind, message, text = pickle.loads(payload)
    error: Exception | None = None
    if pickled is not None:
        try:
            rebuilt = pickle.loads(pickled)
        except Exception:  # whatever a class of the application does when it is rebuilt
            rebuilt = None
        error = rebuilt if isinstance(rebuilt, Exception) else None
    if error is None:
        why = (
            "A task cannot end the worker it runs in; return, or raise an Exception."
            if fatal
            else "The exception itself cannot be sent between processes; see the traceback."
        )
        error = ExecutorError(f"{name_of(fn)!r} raised {kind}: {message}. {why}")
    error.__cause__ = RemoteTraceback(text)
    return error
