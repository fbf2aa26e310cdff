"""Decide how a future is completed by the ending of its task. Knows no worker and no channel."""

from __future__ import annotations

from concurrent.futures import InvalidStateError
from pickle import loads
from typing import Any

from flask_concurrency.executors.processes.payloads import (
    cannot_rebuild,
    load_error,
    raised_there,
)
from flask_concurrency.executors.processes.records import NO_REPLY, Task
from flask_concurrency.executors.processes.shared_memory.buffers import Opened
from flask_concurrency.executors.processes.shared_memory.owner_side import open_reply
from flask_concurrency.executors.processes.shared_memory.segment_pool import SegmentPool
from flask_concurrency.executors.processes.wire import ERROR, RESULT, Received
from flask_concurrency.vocabulary.errors import DeadlineExceeded


def settle(task: Task, segments: SegmentPool) -> None:
    """Complete a future, by a worker's message or by an error made in this process.

    May be called again if an exception of a signal handler has ended it: nothing is taken away
    from the ending before the future is done.

    :param segments: Where large buffers of the result are.
    :raises BaseException: What a signal handler raised while the result was unpickled. The future
        is complete nevertheless.
    """
    assert task.ending is not None
    kind, content = task.ending
    strike: BaseException | None = None
    value: Any = None
    error: BaseException | None = None
    if kind == NO_REPLY:
        error = content
    else:
        try:
            value = _open(task, segments)
        except BaseException as first:
            value, error, strike = _open_again(task, segments, first)
        if kind == ERROR:
            content = task.ending[1]
            stream = content.stream if isinstance(content, Opened) else content
            value, error = None, raised_there(value, stream, task.fn)
        elif error is not None:
            error = cannot_rebuild(error, task.fn)
    if error is None:
        task.count = "done"
    else:
        expired = kind == NO_REPLY and isinstance(error, DeadlineExceeded)
        task.count = "expired" if expired else "failed"
    try:
        if error is None:
            task.future.set_result(value)
        else:
            task.future.set_exception(error)
    except InvalidStateError:  # cancelled while its result was unpickled
        pass
    task.payload = b""  # gives shared memory back, though other objects still hold the task
    if strike is not None:
        raise strike


def _open(task: Task, segments: SegmentPool) -> Any:
    """Unpickle the result, or the error, in the ending of a task."""
    assert task.ending is not None
    kind, content = task.ending
    if kind == RESULT and type(content) is bytes:  # as for most
        return loads(content)
    if isinstance(content, Received):
        content = open_reply(content, task.payload, task.name, segments)
        task.ending = kind, content
    if isinstance(content, Opened):
        stream, buffers = content
    else:
        stream, buffers = content, ()
    return loads(stream, buffers=buffers) if kind == RESULT else load_error(stream)


def _open_again(
    task: Task, segments: SegmentPool, first: BaseException
) -> tuple[Any, BaseException | None, BaseException | None]:
    """Distinguish what a result's own code raises from what interrupts its rebuilding.

    What is raised a second time, too, is the result's. Else a signal handler raised it, for the
    caller and not for the future.

    :returns: The value, or the error, and what is to be raised.
    """
    try:
        return _open(task, segments), None, first
    except BaseException as second:
        return None, second, None if type(second) is type(first) else first
