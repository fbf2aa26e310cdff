"""Decide how a call crosses to a worker, and who is to blame if it cannot. Knows no worker."""

from __future__ import annotations

import pickle
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any, Final

from flask_concurrency.executors.processes.main_script import MainScript, find_main, loads
from flask_concurrency.executors.processes.shared_memory.buffer_message import SHARED
from flask_concurrency.executors.processes.shared_memory.buffers import (
    RAW,
    Pickled,
    goes_beside,
    raw_or_same,
    with_raw,
)
from flask_concurrency.executors.processes.shared_memory.owner_side import CallMessage
from flask_concurrency.executors.processes.shared_memory.segment_pool import SegmentPool
from flask_concurrency.executors.processes.shared_memory.worker_side import ReplyMessage
from flask_concurrency.executors.processes.wire import ERROR, RESULT
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import ExecutorError, TaskNotPicklable

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

PLAIN: Final = frozenset({int, float, bool, str, type(None)})
"""Types that hold no buffer. To look for some takes a third of the time of a short pickle."""

TRACES: Final = "opentelemetry.context"
"""A module that is loaded where there may be a trace; one that is not is not loaded for it."""


@dataclass(frozen=True, slots=True)
class ChunkedCall:
    """Call a function once for each item of a chunk, in one task."""

    fn: Callable[..., Any]

    def __call__(self, chunk: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the results in order."""
        return [self.fn(*args) for args in chunk]


@dataclass(frozen=True, slots=True)
class TimedChunkedCall(ChunkedCall):
    """The same, and say how long the calls took."""

    def __call__(self, chunk: Sequence[tuple[Any, ...]]) -> Any:
        """Return seconds, and the results in order."""
        began_at = monotonic()
        results = [self.fn(*args) for args in chunk]
        return monotonic() - began_at, results


@dataclass(frozen=True, slots=True)
class TracedCall:
    """Call a function in its caller's trace.

    :ivar fields: What names the trace, and the caller's span in it.
    """

    fn: Callable[..., Any]
    fields: dict[str, str]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the function returns."""
        from flask_concurrency.executors.processes.trace_context import call_in_trace

        return call_in_trace(self.fields, self.fn, args, kwargs)


def encode_call(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], segments: SegmentPool
) -> bytes:
    """Pickle a call.

    :param segments: Has room for the call's large buffers, perhaps.
    :raises TaskNotPicklable: The function or an argument cannot be pickled; the message says
        which, why, and what to do.
    :raises Exception: What a signal handler raised meanwhile.
    """
    called = fn if TRACES not in sys.modules else _in_trace_of_caller(fn)
    call: tuple[Any, ...] = (called, args, kwargs)
    plain = not kwargs and type(called) is FunctionType and PLAIN.issuperset(map(type, args))
    if not (
        plain or (RAW.isdisjoint(map(type, args)) and RAW.isdisjoint(map(type, kwargs.values())))
    ):
        call = (called, *with_raw(args, kwargs))
    try:
        stream, buffers = _dump_plain(call) if plain else dump(call)
    except Exception as error:
        try:
            dump(call)
        except Exception:
            raise TaskNotPicklable(_blame(fn, args, kwargs, error)) from error
        raise  # nothing is wrong with the call: a signal handler raised it
    if getattr(fn, "__module__", None) == "__main__" and find_main() is None:
        raise TaskNotPicklable(
            f"{name_of(fn)!r} is defined in __main__, which is no file that a worker could "
            "import. Move it to a module and import it from there."
        )
    expected = segments.expected(name_of(fn)) if segments.expects else 0
    if buffers or expected or len(stream) >= SHARED:
        return CallMessage.pack((stream, buffers), segments, expected)
    return stream


def dump(value: object) -> Pickled:
    """Pickle an object. Its large buffers are *not* copied: they are the object's own."""
    buffers: list[memoryview] = []
    stream = pickle.dumps(value, 5, buffer_callback=lambda each: not goes_beside(each, buffers))
    return stream, buffers


def _dump_plain(value: object) -> Pickled:
    return pickle.dumps(value, 5), []


def _in_trace_of_caller(fn: Callable[..., Any]) -> Callable[..., Any]:
    from flask_concurrency.executors.processes.trace_context import fields_of_caller

    fields = fields_of_caller()
    return TracedCall(fn, fields) if fields else fn


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
    except (Exception, SystemExit) as error:
        module = _module_that_raised(error)
        if module is not None:
            raise TaskNotPicklable(
                f"Importing {module!r} in a worker process failed: {_line(error)}. What must be "
                "done only once belongs into a function, or under "
                "'if not flask_concurrency.in_worker():'."
            ) from error
        if isinstance(error, SystemExit):
            raise
        raise TaskNotPicklable(
            f"A worker process cannot rebuild a task: {_line(error)}. Its function and the "
            "classes of its arguments must be importable there, by the same name as here."
        ) from error
    return call


def _module_that_raised(error: BaseException) -> str | None:
    """The first module whose own code raised an error while it was imported, if one did."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "<module>":
            return str(frame.f_globals.get("__name__"))
    return None


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
    while isinstance(fn, (partial, ChunkedCall, TracedCall)):
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


_set_cause: Any = vars(BaseException)["__cause__"].__set__
_set_args: Any = vars(BaseException)["args"].__set__


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
        if type(value) in PLAIN:
            stream, buffers = _dump_plain(value)
        else:
            stream, buffers = dump(raw_or_same(value) if type(value) in RAW else value)
        if buffers or len(stream) >= SHARED:
            return RESULT, ReplyMessage.pack((stream, buffers))
        return RESULT, stream
    except MemoryError:
        raise
    except BaseException as error:  # sys.exit() in a __reduce__ must not end the worker
        refusal = TaskNotPicklable(
            f"The result of {name_of(fn)!r} ({type(value).__qualname__}) cannot be sent back from "
            f"the worker process: {type(error).__name__}: {error}. Return plain data."
        )
        refusal.__cause__ = error
        return encode_error(refusal)


def encode_error(error: BaseException) -> tuple[int, bytes]:
    """Pickle what a task raised, with its traceback as text, so that it always arrives.

    An exception whose class pickle cannot rebuild is rebuilt without its ``__init__``. One that
    cannot be pickled at all arrives as an ``ExecutorError`` with its type, message and traceback.
    So does one that is no ``Exception``: the task's ``sys.exit()`` must not end the process that
    asked for the task.
    """
    # The first entry is the line of the worker's loop that made the call.
    entry = error.__traceback__.tb_next if error.__traceback__ is not None else None
    try:
        text = "".join(traceback.format_exception(type(error), error, entry))
    except BaseException:  # whatever a class of the application does in __str__
        text = "".join(traceback.format_tb(entry))
    try:
        message = str(error)
    except BaseException:
        message = "(its text cannot be made)"
    pickled = parts = None
    if isinstance(error, Exception):
        pickled = _dumps(error)
        parts = _dumps((type(error), error.args, _picklable(error.__dict__)))
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    fatal = not isinstance(error, Exception)
    return ERROR, pickle.dumps((pickled, parts, fatal, kind, message, text), 5)


def _dumps(value: object) -> bytes | None:
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except BaseException:  # whatever a class of the application does when it is pickled
        return None


def _picklable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what cannot be sent, such as the connection that an error was about."""
    return {name: value for name, value in attributes.items() if _dumps(value) is not None}


def cannot_rebuild(error: BaseException, fn: Callable[..., Any]) -> TaskNotPicklable:
    """Make the error of a task whose result arrived and raises ``error`` when it is unpickled."""
    refusal = TaskNotPicklable(
        f"The result of {name_of(fn)!r} came back but cannot be rebuilt here: "
        f"{type(error).__name__}: {error}. Return plain data, or make its class importable "
        "in this process."
    )
    refusal.__cause__ = error
    return refusal


def load_error(stream: bytes | bytearray | memoryview) -> Exception:
    """Rebuild the exception that a task raised; raises whatever its class raises then."""
    pickled, parts, _, kind, _, _ = pickle.loads(stream)
    rebuilt: object = None
    if pickled is not None:
        try:
            rebuilt = pickle.loads(pickled)
        except Exception:
            if parts is None:
                raise
    if rebuilt is None and parts is not None:
        cls, args, attributes = pickle.loads(parts)
        rebuilt = cls.__new__(cls, *args)
        _set_args(rebuilt, args)
        vars(rebuilt).update(attributes)
    if not isinstance(rebuilt, Exception):
        raise TypeError(f"{kind} is not rebuilt as an exception")
    return rebuilt


def raised_there(
    error: Exception | None, stream: bytes | bytearray | memoryview, fn: Callable[..., Any]
) -> Exception:
    """Complete what a task raised by its traceback in the worker, as its ``__cause__``.

    :param error: What :func:`load_error` returned; ``None`` if it could not.
    """
    _, _, fatal, kind, message, text = pickle.loads(stream)
    if error is None:
        why = (
            "A task cannot end the worker it runs in; return, or raise an Exception."
            if fatal
            else "The exception itself cannot be sent between processes; see the traceback."
        )
        error = ExecutorError(f"{name_of(fn)!r} raised {kind}: {message}. {why}")
    # Past a __setattr__ that refuses, such as a frozen dataclass's.
    _set_cause(error, RemoteTraceback(text))
    return error
