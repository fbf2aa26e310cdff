"""Hold what a worker puts around each of its tasks. Knows neither tasks nor workers.

A framework gives the option ``task_context``: a function that is called once in a process where
workers begin, in the forkserver if there is one, and returns what makes a context manager for each
task.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from flask_concurrency.executors.processes.payloads import cannot_pickle
from flask_concurrency.vocabulary.errors import TaskNotPicklable

ContextFactory: TypeAlias = "Callable[[], AbstractContextManager[object]]"
TaskContext: TypeAlias = "Callable[[], ContextFactory]"

_make_context: ContextFactory | None = None


def encode_task_context(task_context: TaskContext | None) -> bytes | None:
    """Pickle the option, for a process where workers begin.

    :raises TaskNotPicklable: It cannot be.
    """
    if task_context is None:
        return None
    if reason := cannot_pickle(task_context):
        raise TaskNotPicklable(
            f"task_context={task_context!r} cannot be sent to a worker process: {reason}. Use a "
            "function of a module, or functools.partial of one with plain arguments."
        )
    return pickle.dumps(task_context, pickle.HIGHEST_PROTOCOL)


def prepare_task_context(pickled: bytes | None) -> None:
    """Ask what to put around each task of this process and of those forked from it."""
    global _make_context
    if pickled is not None:
        _make_context = pickle.loads(pickled)()


def call_in_context(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Call a task, within a context of its own if there is to be one."""
    if _make_context is None:
        return fn(*args, **kwargs)
    with _make_context():
        return fn(*args, **kwargs)
