"""Decide how a task is run that a task submits: at once, where it is. Knows no pool."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from flask_concurrency.executors.processes.around import call_around
from flask_concurrency.executors.processes.call import name_of
from flask_concurrency.executors.processes.inside import is_loading_main
from flask_concurrency.runtime.deadline import check_deadline
from flask_concurrency.vocabulary.errors import ExecutorError


def run_inline(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Future[Any]:
    """Run a call in this process and return its finished future.

    :raises ExecutorError: The call is made while a worker imports the script that was run, so
        the script would do its work once more in every worker.
    """
    if is_loading_main():
        raise ExecutorError(
            f"{name_of(fn)!r} was submitted while a worker process imported the script that was "
            "run. Put what must run only once under  if __name__ == '__main__':"
        )
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    try:
        check_deadline()
        value = contextvars.copy_context().run(call_around, fn, args, kwargs)
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(value)
    return future
