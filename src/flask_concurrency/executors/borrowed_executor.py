"""Decide how a loop uses an executor that is not its own. Knows neither loop nor tasks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class BorrowedExecutor(ThreadPoolExecutor):
    """Any executor, in the only shape ``loop.set_default_executor`` takes.

    asyncio insists on a ``ThreadPoolExecutor`` and shuts it down with the loop. This one starts
    no thread, hands each task on, and leaves the lender's executor open.
    """

    def __init__(self, lender: Executor) -> None:
        super().__init__(max_workers=1)
        self._lender = lender

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit to the lender."""
        return self._lender.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: the executor is the lender's."""
