"""Decide how a task's future is completed. Knows no worker, and holds none: callbacks run here."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from typing import Any

from flask_concurrency.executors.processes.crossing import open_reply
from flask_concurrency.executors.processes.outcome import decode_error, decode_result
from flask_concurrency.executors.processes.round import NO_REPLY
from flask_concurrency.executors.processes.task import Task
from flask_concurrency.executors.processes.wire import RESULT, Received
from flask_concurrency.vocabulary.errors import DeadlineExceeded, ExecutorError


def complete(task: Task, kind: int, content: Any) -> None:
    """Complete a future, by a worker's message or by an error made in this process.

    :param kind: Kind of the message, or ``NO_REPLY``.
    :param content: Payload of the message, or the error.
    """
    if task.finished:  # cancelled
        return
    future = task.future
    try:
        value, error = _open(task, kind, content)
    except BaseException:  # an exception of a signal handler; whoever else waits must not hang
        task.count = "failed"
        with suppress(InvalidStateError):
            future.set_exception(
                ExecutorError(f"The reading of {task.name!r}'s result was interrupted.")
            )
        raise
    task.payload = b""  # gives shared memory back, whoever else still holds the task
    try:
        if error is None:
            task.count = "done"
            future.set_result(value)
        else:
            expired = kind == NO_REPLY and isinstance(error, DeadlineExceeded)
            task.count = "expired" if expired else "failed"
            future.set_exception(error)
    except InvalidStateError:  # cancelled while its result was unpickled
        return


def _open(task: Task, kind: int, content: Any) -> tuple[Any, BaseException | None]:
    try:
        if kind == NO_REPLY:
            return None, content
        stream = content
        buffers: Sequence[memoryview] = ()
        if isinstance(content, Received):
            stream, buffers = open_reply(content, task.payload, task.name, task.future.arena)
        if kind == RESULT:
            return decode_result(stream, task.fn, buffers), None
        return None, decode_error(stream, task.fn)
    except Exception as error:
        return None, error
