"""Let the deadline hold for any executor, and count what it has not answered yet.

Knows nothing of the executor but the contract of ``concurrent.futures``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from flask_concurrency.executors.context import Carrier, capture_context
from flask_concurrency.executors.linked_future import LinkedFuture
from flask_concurrency.executors.task_end import OnTaskEnd, TaskEnd
from flask_concurrency.runtime.deadline import expires_at
from flask_concurrency.runtime.deadline_messages import left_to_foreign_executor
from flask_concurrency.runtime.timer_thread import Alarm, timekeeper
from flask_concurrency.vocabulary.errors import ExecutorShutdown

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ForeignSnapshot:
    """What is known of an executor that is not ours, in this process.

    :ivar kind: Name of its class.
    :ivar pending: Tasks that were handed to it and have not ended.
    :ivar done: Tasks that returned.
    :ivar failed: Tasks that raised.
    :ivar cancelled: Tasks that were cancelled.
    :ivar expired: Tasks that were given up at their deadline, whatever became of them.
    """

    kind: str
    pending: int
    done: int
    failed: int
    cancelled: int
    expired: int


class ForeignExecutor(Executor):
    """Any :class:`concurrent.futures.Executor`, with deadlines and counts.

    A task's future fails at its caller's deadline, and its cancellation is tried; what
    has begun elsewhere may run on. The caller's surroundings are taken along to a
    ``ThreadPoolExecutor``. To other executors, whose tasks may run on another machine, goes
    nothing but the arguments.

    :param name: What it is called.
    :param executor: Runs the tasks. It stays its maker's, who shuts it down.
    :param carry: Captures what a task takes along to a thread; the context variables by default.
    :param call_at: Has something called at an instant.
    :param on_task_end: Told how each task ended.
    """

    def __init__(
        self,
        name: str,
        executor: Executor,
        *,
        carry: Carrier = capture_context,
        call_at: Callable[[float, Callable[[], object]], Alarm] = timekeeper.call_at,
        on_task_end: OnTaskEnd | None = None,
    ) -> None:
        self.name = name
        self.wrapped = executor
        self._carry = carry if isinstance(executor, ThreadPoolExecutor) else None
        self._call_at = call_at
        self._on_task_end = on_task_end
        self._lock = threading.Lock()
        self._counts = {"pending": 0, "done": 0, "failed": 0, "cancelled": 0, "expired": 0}

    def __repr__(self) -> str:
        return f"<ForeignExecutor {self.name!r} {self.wrapped!r}>"

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand ``fn(*args, **kwargs)`` to the executor.

        :raises ExecutorShutdown: The executor was shut down, by its maker.
        :raises Exception: What the executor raises.
        """
        until = expires_at()
        future: LinkedFuture[T] = LinkedFuture()
        alarm = None
        if until is not None:
            alarm = self._call_at(until, partial(self._expire, future, fn))
        try:
            inner = self._hand_over(fn, args, kwargs)
        except BaseException:
            if alarm is not None:
                alarm.cancel()
            raise
        with self._lock:
            self._counts["pending"] += 1
        future.follow(inner)
        inner.add_done_callback(partial(self._ended, future, alarm))
        if future.done():  # its time was up while it was handed over
            future.cancel_call()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor itself down."""
        # Some know no other parameter than the first.
        if cancel_futures:
            self.wrapped.shutdown(wait, cancel_futures=True)
        else:
            self.wrapped.shutdown(wait)

    def snapshot(self) -> ForeignSnapshot:
        """What is known of it now. What others submit to it directly is not."""
        with self._lock:
            return ForeignSnapshot(type(self.wrapped).__name__, **self._counts)

    def _hand_over(self, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        try:
            if self._carry is None:
                return self.wrapped.submit(fn, *args, **kwargs)
            return self.wrapped.submit(self._carry(), fn, args, kwargs)
        except RuntimeError as error:
            if "after" not in str(error) or "shutdown" not in str(error):
                raise
            raise ExecutorShutdown(
                f"{self.name!r} was shut down and takes no more work: {error}."
            ) from error

    def _expire(self, future: LinkedFuture[Any], fn: Callable[..., Any]) -> None:
        if future.done():
            return
        with self._lock:
            self._counts["expired"] += 1
        name = getattr(fn, "__name__", repr(fn))
        self._tell("expired", name)
        future.give_up(left_to_foreign_executor(name, self.name))

    def _ended(self, future: LinkedFuture[Any], alarm: Alarm | None, inner: Future[Any]) -> None:
        if alarm is not None:
            alarm.cancel()
        error = None if inner.cancelled() else inner.exception()
        how = "cancelled" if inner.cancelled() else "done" if error is None else "failed"
        with self._lock:
            self._counts["pending"] -= 1
            counts = not future.done()
            if counts:
                self._counts[how] += 1
        if counts:
            self._tell(how, error=error)
        del error
        future.adopt(inner)

    def _tell(self, how: str, name: str = "", error: BaseException | None = None) -> None:
        if self._on_task_end is not None:
            self._on_task_end(TaskEnd(how, name, error=error))
