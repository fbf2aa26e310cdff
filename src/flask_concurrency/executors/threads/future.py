"""Decide what becomes of a failure that no caller has asked for: it is logged.

Knows neither threads nor queue.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import Any, TypeVar

from flask_concurrency.executors.waiting import TaskFuture
from flask_concurrency.vocabulary.errors import DeadlineExceeded
from flask_concurrency.vocabulary.safe_logger import SafeLogger

T = TypeVar("T")

logger = SafeLogger("flask_concurrency.executors")


class SubmittedFuture(TaskFuture[T]):
    """The future of a submitted task. Logs its failure if it is collected before it was asked.

    :ivar lost: Pool and task, noted where the task has failed.
    """

    lost: tuple[str, str] | None = None
    _asked = False

    def result(self, timeout: float | None = None) -> T:
        """What the task returned; raises what it raised."""
        self._asked = True
        try:
            return super().result(timeout)
        finally:
            self = None  # type: ignore[assignment] # no cycle of exception, traceback and future

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, ``None`` if it returned."""
        self._asked = True
        return super().exception(timeout)

    def add_done_callback(self, fn: Any) -> None:
        """Have ``fn`` called with this future when it is done."""
        self._asked = True
        super().add_done_callback(fn)

    def __del__(self) -> None:
        if self.lost is None or self._asked:
            return
        error = self._exception
        if isinstance(error, DeadlineExceeded | CancelledError):
            return  # no news: its caller's time was up
        executor, name = self.lost
        logger.error(
            "Task %r of %r failed, and its result was never asked for",
            name,
            executor,
            exc_info=error,
        )
