"""Run a coroutine as stock Flask does: on a loop of its own, which ends with it.

Here the loop runs on the thread that calls, so what is kept by thread belongs to one request. Knows
no Flask, and nothing of the shared loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

from flask_concurrency.executors.loop.call import adopt, name_of
from flask_concurrency.executors.loop.deadline import in_time, time_left
from flask_concurrency.executors.loop.greenlets import make_loop
from flask_concurrency.runtime.gevent_patch import threads_are_greenlets
from flask_concurrency.runtime.managed_blocking import managed_block

T = TypeVar("T")


def run_on_own_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; what it has started and not awaited is cancelled then.

    The caller's context variables are seen by the coroutine, and what it sets by the caller. Where
    the calling thread runs a loop already, the coroutine gets a thread of its own.

    :raises DeadlineExceeded: The caller's deadline passed, and the coroutine was cancelled.
    :raises Exception: What the coroutine raised.
    """
    context = contextvars.copy_context()
    seconds = time_left()
    if seconds is not None:
        coroutine = in_time(coroutine, seconds, name_of(coroutine))
    try:
        if asyncio._get_running_loop() is None:
            return _run(coroutine, context)
        return _run_on_thread(coroutine, context)
    finally:
        adopt(context)


def _run(coroutine: Coroutine[Any, Any, T], context: Context) -> T:
    factory = make_loop if threads_are_greenlets() else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine, context=context)


def _run_on_thread(coroutine: Coroutine[Any, Any, T], context: Context) -> T:
    ended: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            ended.append(_run(coroutine, context))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name=f"own-loop-{name_of(coroutine)}", daemon=True)
    thread.start()
    managed_block(thread.join)
    if not raised:
        return ended[0]
    raise raised.pop()
