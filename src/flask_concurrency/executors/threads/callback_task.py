"""Run one call and tell a callback how it ended, once its thread is free for the next.

Knows neither queue nor future. A future is settled by a thread that has yet to count what it did:
that thread and the one it wakes would want the interpreter at once. A request on ASGI to a plain
view takes a seventh less of the processor so (``./scripts/bench asgi-sync``).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from flask_concurrency.executors.context import Captured
from flask_concurrency.executors.threads.task import Outcome, Task
from flask_concurrency.vocabulary.clock import Clock

Callback = Callable[[Any, BaseException | None], object]
"""Called with a result or an error, in the thread that ends the call; it must not raise."""


class CallbackTask(Task):
    """A call that waits for its turn, has no deadline, and is waited for by no thread.

    :param callback: Called once.
    """

    _result: Any = None
    _failure: BaseException | None = None

    def __init__(self, captured: Captured, fn: Callable[[], Any], callback: Callback) -> None:
        self._call = (captured, fn, (), {})
        self._callback = callback
        self.deadline = None

    def run(self, clock: Clock, executor: str) -> Outcome:
        """Make the call."""
        captured, fn, args, kwargs = self._call
        self._name = fn.__qualname__
        del self._call
        self.started_at = clock()
        try:
            self._result = captured(fn, args, kwargs)
        except BaseException as error:
            self._failure = self.error = error
            return "failed"
        else:
            return "done"
        finally:
            self.ended_at = clock()
            del self, captured, fn, args, kwargs  # a traceback keeps this frame

    def after_run(self) -> None:
        """Tell how it ended."""
        result, self._result = self._result, None
        failure, self._failure = self._failure, None
        self._callback(result, failure)

    def drop(self, error: BaseException | None = None) -> None:
        """Tell that it will not run.

        :param error: What it fails with; ``None`` cancels it.
        """
        self._name = self.name
        del self._call
        self._callback(None, CancelledError() if error is None else error)
