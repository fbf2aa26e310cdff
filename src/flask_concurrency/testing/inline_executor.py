"""Run tasks at once, in the thread that submits them. Knows no Flask and no limit."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from flask_concurrency.vocabulary.errors import TaskNotPicklable
from flask_concurrency.vocabulary.safe_logger import SafeLogger

P = ParamSpec("P")
T = TypeVar("T")

logger = SafeLogger("flask_concurrency.executors")


class InlineExecutor(Executor):
    """An executor of which every task is done when ``submit`` returns.

    :param name: What messages call it.
    :param pickles: Whether tasks are sent through :mod:`pickle`, as worker processes need it.
    """

    max_workers = 1

    def __init__(self, name: str, *, pickles: bool = False) -> None:
        self.name = name
        self._pickles = pickles

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run ``fn(*args, **kwargs)``; the future is done and holds its result or error.

        :raises TypeError: ``fn`` is an async function.
        """
        if inspect.iscoroutinefunction(fn):
            raise TypeError(
                f"{fn!r} is an async function, which threads and processes do not run: use "
                "concurrency.loop."
            )
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            result = self._run(fn, args, kwargs)
        except BaseException as error:
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            future.set_result(result)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | str = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call ``fn`` for each item, one after the other; results in order."""
        results = [self.submit(fn, *items) for items in zip(*iterables, strict=False)]
        return (future.result() for future in results)

    def spawn(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run it at once, too; an error is logged, since no caller waits for it."""
        future = self.submit(fn, *args, **kwargs)
        if (error := future.exception()) is not None:
            logger.error("A task of %r failed.", self.name, exc_info=error)
        return future

    async def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it at once, on the loop."""
        return self.submit(fn, *args, **kwargs).result()

    def drain(self, timeout: float) -> list[str]:
        """Nothing is ever left."""
        return []

    def _run(self, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
        if not self._pickles:
            return fn(*args, **kwargs)
        fn, args, kwargs = self._copied((fn, args, kwargs), "The task")
        result: T = self._copied(fn(*args, **kwargs), "The result")
        return result

    def _copied(self, value: Any, what: str) -> Any:
        try:
            return pickle.loads(pickle.dumps(value))
        except Exception as error:
            raise TaskNotPicklable(f"{what} cannot be sent to a process: {error}") from error
