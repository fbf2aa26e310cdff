"""Decide what an application sees of its worker processes: one ``Executor``. Knows no Flask."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from flask_concurrency.executors.processes.batch import Batch
from flask_concurrency.executors.processes.call import encode_call
from flask_concurrency.executors.processes.feed import map_in_order
from flask_concurrency.executors.processes.inline import run_inline
from flask_concurrency.executors.processes.inside import is_worker
from flask_concurrency.executors.processes.lifetime import executors
from flask_concurrency.executors.processes.options import check_options
from flask_concurrency.executors.processes.pool import Pool
from flask_concurrency.executors.processes.roster import ProcessSnapshot

P = ParamSpec("P")
T = TypeVar("T")


class ProcessExecutor(Executor):
    """Runs tasks in worker processes that stay warm, with the contract of ``concurrent.futures``.

    Nothing is started before the first task. Workers are started as tasks need them and live on.
    A forked child (a server's worker, above all) starts its own at its first task; a task of the
    parent cannot be waited for there. Workers end with the process that owns them, however that
    ends. A worker that dies takes its own task along and no other.

    Inside a worker every process executor runs its tasks at once, where they are: neither do
    nested tasks wait for the worker they occupy, nor do pools multiply.

    At the end of the process, tasks that were submitted are finished first.

    :param max_workers: Worker processes at most. Default: one for each processor.
    :param max_queue: Tasks that may wait beyond one for each worker. ``None`` is no bound.
    :param preload: Modules imported once, before workers are forked, which then have them at
        once and share their memory: ``["app"]``. Such a module must not start threads nor open
        connections when it is imported. ``"__main__"`` stands for the script that was run.
    :param initializer: Called in each worker before its first task, with ``initargs``.
    :param max_tasks_per_worker: Tasks after which a worker is replaced. Default: never.
    :param max_shared_memory: Bytes that large arguments and results may take in shared memory; what
        does not fit is copied through a socket, which is slower. ``0`` shares none. Default: an
        eighth of the memory of this machine or container.
    :param start_method: ``"forkserver"`` or ``"spawn"``. Default: the former where there is fork.
    :param name: Stands in messages, in ``ps``, and in the names of threads.
    :raises ConfigurationError: An option is wrong.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        max_queue: int | None = 1000,
        preload: Sequence[str] = (),
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        max_tasks_per_worker: int | None = None,
        max_shared_memory: int | None = None,
        start_method: str | None = None,
        name: str = "processes",
    ) -> None:
        self._options = check_options(
            max_workers=max_workers,
            max_queue=max_queue,
            preload=preload,
            initializer=initializer,
            initargs=initargs,
            max_tasks_per_worker=max_tasks_per_worker,
            max_shared_memory=max_shared_memory,
            start_method=start_method,
            name=name,
        )
        self._use(Pool(self._options))
        executors.add(self)

    def __repr__(self) -> str:
        return f"<ProcessExecutor {self._options.name!r} {self.snapshot()}>"

    @property
    def name(self) -> str:
        """What the executor is called."""
        return self._options.name

    @property
    def max_workers(self) -> int:
        """Worker processes at most."""
        return self._options.max_workers

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have ``fn(*args, **kwargs)`` run in a worker, and return at once.

        Function, arguments and result are pickled. A thread that waits for the result reads it
        from the worker itself; callbacks run on whichever thread reads it.

        :raises TaskNotPicklable: The function or an argument cannot be sent to a worker.
        :raises QueueFull: ``max_queue`` tasks are waiting.
        :raises ExecutorShutdown: The executor was shut down.

        The future raises what the task raised, with the traceback in the worker as its
        ``__cause__``; ``WorkerDied`` if the worker did not survive the task; ``TaskNotPicklable``
        if the result cannot be sent back; ``WorkerStartFailed`` if no worker comes up.
        """
        if is_worker():
            return run_inline(fn, args, kwargs)
        future: Future[T] = self._pool.submit(fn, [encode_call(fn, args, kwargs, self._pool.arena)])[0]
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Have ``fn`` run for each item in the workers, and return the results in order.

        The items are taken and pickled at once. A ``map`` stands in the queue with at most one
        task for each worker at a time, so it may be longer than the queue and keeps nobody out of
        it. The first error ends it: it is raised in place of its result, and what has not
        started is cancelled.

        :param timeout: Seconds, from now, until the last result must be there.
        :param chunksize: Items that one task takes; more than 1 pays for very short calls.
        :param buffersize: Take items only as results are taken, so many ahead. Default: all.
        :raises TaskNotPicklable: The function or an item cannot be sent to a worker.
        :raises QueueFull: The queue has no room for even one task.
        :raises ExecutorShutdown: The executor was shut down.
        :raises TimeoutError: While results are taken: ``timeout`` has passed.
        """
        batch = Batch()
        return map_in_order(
            lambda fn, items: self._submit_items(fn, items, batch),
            fn,
            iterables,
            at_first=self.max_workers,
            timeout=timeout,
            chunksize=chunksize,
            buffersize=buffersize,
        )

    async def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await ``fn(*args, **kwargs)`` run in a worker, on any event loop.

        Raises as :meth:`submit` and its future do. Cancelled, it takes the task back if no
        worker has it yet.
        """
        return await asyncio.wrap_future(self.submit(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and end the workers once those that were taken are done.

        :param wait: Return when all that has happened; otherwise at once.
        :param cancel_futures: Cancel the tasks that wait; those that run are not interrupted.
        """
        self._pool.shutdown(wait, cancel_futures)

    def kill_workers(self) -> None:
        """Shut down without waiting: cancel the tasks that wait, kill the workers.

        The tasks that run fail with ``WorkerDied``.
        """
        self._pool.kill_workers("the executor was told to kill its workers")

    def snapshot(self) -> ProcessSnapshot:
        """Tell what the executor is doing in this process. Starts nothing."""
        return self._pool.snapshot()

    def _begin_anew(self) -> None:
        """Forget the parent's workers, in a forked child; ``lifetime`` calls it."""
        pool = Pool(self._options)
        if self._pool.closing:
            pool.close_soon()
        self._use(pool)

    def _submit_items(
        self, fn: Callable[..., Any], items: Sequence[tuple[Any, ...]], batch: Batch
    ) -> Sequence[Future[Any]]:
        if is_worker():
            return [run_inline(fn, args, {}) for args in items]
        return self._pool.submit(fn, [encode_call(fn, args, {}, self._pool.arena) for args in items], batch)

    def _use(self, pool: Pool) -> None:
        self._pool = pool
        # A forgotten executor takes its workers along, once its tasks are done.
        finalizer = weakref.finalize(self, pool.close_soon)
        finalizer.atexit = False
