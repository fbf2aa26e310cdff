"""Hand calls and coroutines of a group to where they run. Knows no policy and no deadline."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from flask_concurrency.executors.coroutine_future import CoroutineFuture
from flask_concurrency.executors.groups.task import GroupTask
from flask_concurrency.executors.loop import LoopThread

P = ParamSpec("P")
T = TypeVar("T")


class Group(Protocol):
    """What is needed of the group that the tasks belong to."""

    def start(self, name: str, call: Callable[[], Future[T]]) -> GroupTask[T]:
        """Have ``call`` submit something, and take its future into the group."""


class GroupExecutor:
    """One executor, for the tasks of one group."""

    def __init__(self, group: Group, executor: Executor) -> None:
        self._group = group
        self._executor = executor

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> GroupTask[T]:
        """Have ``fn(*args, **kwargs)`` run on the executor, as a task of the group.

        A group that needs no more results gives a task that is cancelled already.

        :raises QueueFull: The executor's queue is full. Left to itself it ends the block.
        :raises ExecutorShutdown: The group has ended, or the executor was shut down.
        """
        if inspect.iscoroutinefunction(fn):
            raise TypeError(
                f"{_name_of(fn)!r} is an async function, which threads and processes do not run. "
                "Submit it to group.loop."
            )
        return self._group.start(_name_of(fn), partial(self._executor.submit, fn, *args, **kwargs))


class GroupLoop:
    """An event loop, for the coroutines of one group.

    :param home: The loop that the block runs on; ``None`` for an ordinary ``with``.
    :param shared: Where coroutines run otherwise.
    """

    def __init__(
        self, group: Group, home: asyncio.AbstractEventLoop | None, shared: LoopThread
    ) -> None:
        self._group = group
        self._home = home
        self._shared = shared

    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> GroupTask[T]:
        """Have ``await fn(*args, **kwargs)`` run on the loop, as a task of the group.

        A group that needs no more results gives a task that is cancelled already.

        :raises ExecutorShutdown: The group has ended, or the loop was shut down.
        """
        if inspect.iscoroutine(fn):
            fn.close()
            raise TypeError("Submit the async function and its arguments: submit(fetch, url).")
        name = _name_of(fn)

        def start() -> Future[T]:
            coroutine = fn(*args, **kwargs)
            if not inspect.iscoroutine(coroutine):
                raise TypeError(
                    f"{name!r} is no async function. Submit it to group.threads instead."
                )
            future: CoroutineFuture[T] = CoroutineFuture(coroutine, name)
            if self._home is None:
                future.start_in(self._shared)
            else:
                future.start_on(self._home)
            return future

        return self._group.start(name, start)


def _name_of(fn: Any) -> str:
    while isinstance(fn, partial):
        fn = fn.func
    name: str = getattr(fn, "__name__", type(fn).__name__)
    return name
