"""Decide how a result or an error crosses back from a worker. Knows no worker and no future."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from flask_concurrency.executors.processes.buffers import dump, raw_or_same
from flask_concurrency.executors.processes.call import cannot_pickle, name_of
from flask_concurrency.executors.processes.inbox import ReplyParcel
from flask_concurrency.executors.processes.parcel import SHARED
from flask_concurrency.executors.processes.wire import ERROR, RESULT
from flask_concurrency.vocabulary.errors import ExecutorError, TaskNotPicklable


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
