"""Decide what an application sees of its worker processes: one ``Executor``. Knows no Flask."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

from flask_concurrency.executors.background import log_failure
from flask_concurrency.executors.options import WhenFull, require_seconds
from flask_concurrency.executors.processes.failure_messages import no_place_in_time
from flask_concurrency.executors.processes.is_worker import in_worker, is_loading_main
from flask_concurrency.executors.processes.options import (
    ProcessOptions,
    default_max_workers,
    default_shared_memory,
    default_start_method,
)
from flask_concurrency.executors.processes.payloads import encode_call, name_of
from flask_concurrency.executors.processes.pool import Pool, end_open_pools
from flask_concurrency.executors.processes.process_map import ChunkSize, map_in_order
from flask_concurrency.executors.processes.records import Batch, Task
from flask_concurrency.executors.processes.snapshot import ProcessSnapshot
from flask_concurrency.executors.processes.worker.task_context import TaskContext, call_in_context
from flask_concurrency.executors.task_end import OnTaskEnd
from flask_concurrency.executors.waiting_line import is_on_loop
from flask_concurrency.runtime.deadline import Deadline, check_deadline, current_deadline
from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import DeadlineExceeded, ExecutorError

LONGEST = 86400.0
"""Seconds that a wait without a deadline lasts, to be limited at all."""

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

    A task's future is done at its caller's deadline at the latest. One that runs loses its worker
    then, as it does when its future is cancelled; another worker takes that one's place at once.

    At the end of the process, tasks that were submitted are finished first.

    :param max_workers: Worker processes at most. Default: one for each processor.
    :param max_queue: Tasks that may wait beyond one for each worker. ``None`` is no bound.
    :param when_full: ``"refuse"`` raises ``QueueFull``; ``"wait"`` has the caller wait for a slot,
        until its deadline at the latest. An event loop's thread is never kept waiting: there
        :meth:`run` waits, and the rest refuses.
    :param preload: Modules imported once, before workers are forked, which then have them at
        once and share their memory: ``["app"]``. Such a module must not start threads nor open
        connections when it is imported. ``"__main__"`` stands for the script that was run.
    :param initializer: Called in each worker before its first task, with ``initargs``.
    :param max_tasks_per_worker: Tasks after which a worker is replaced. Default: never.
    :param max_memory: Bytes that a worker's data may take, or a text such as ``"512MiB"``. A task
        that wants more fails with ``WorkerOutOfMemory``. Default: what the machine has.
    :param idle_timeout: Seconds after which a worker without work ends. ``None``: never.
    :param drain_timeout: Seconds for which the end of the process waits for tasks. Those left are
        ended. ``None`` waits for all.
    :param task_context: Called once where workers begin; returns what makes a context manager for
        each task. A picklable function.
    :param max_shared_memory: Bytes that large arguments and results may take in shared memory; what
        does not fit is copied through a socket, which is slower. ``0`` shares none. Default: an
        eighth of the memory of this machine or container.
    :param start_method: ``"forkserver"`` or ``"spawn"``. Default: the former where there is fork.
    :param name: Stands in messages, in ``ps``, and in the names of threads.
    :param on_first_task: Called before the first worker starts, in a forked child again.
    :param on_task_end: Told how each task ended.
    :raises ConfigurationError: An option is wrong.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        max_queue: int | None = 1000,
        when_full: WhenFull = "refuse",
        preload: Sequence[str] = (),
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        max_tasks_per_worker: int | None = None,
        max_memory: int | str | None = None,
        idle_timeout: float | None = 60.0,
        drain_timeout: float | None = 30.0,
        task_context: TaskContext | None = None,
        max_shared_memory: int | None = None,
        start_method: str | None = None,
        name: str = "processes",
        on_first_task: Callable[[], object] = lambda: None,
        on_task_end: OnTaskEnd | None = None,
    ) -> None:
        self._options = ProcessOptions(
            max_workers=default_max_workers() if max_workers is None else max_workers,
            max_queue=max_queue,
            when_full=when_full,
            preload=preload,
            initializer=initializer,
            initargs=initargs,
            max_tasks_per_worker=max_tasks_per_worker,
            max_memory=max_memory,  # type: ignore[arg-type] # a text, too, which it reads
            idle_timeout=idle_timeout,
            drain_timeout=drain_timeout,
            task_context=task_context,
            max_shared_memory=(
                default_shared_memory() if max_shared_memory is None else max_shared_memory
            ),
            start_method=default_start_method() if start_method is None else start_method,
            name=name,
        )
        self._inline = in_worker()
        self._told = on_first_task, on_task_end
        self._use(Pool(self._options, *self._told))
        call_in_child(self, ProcessExecutor._reset_after_fork)

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
        :raises DeadlineExceeded: With ``when_full="wait"``: there was no free slot in time.

        The future raises what the task raised, with the traceback in the worker as its
        ``__cause__``; ``WorkerDied`` if the worker did not survive the task; ``TaskNotPicklable``
        if the result cannot be sent back; ``WorkerStartFailed`` if no worker comes up;
        ``DeadlineExceeded`` at the deadline under which it was submitted. To cancel it while it
        runs ends its worker, too.
        """
        if self._inline:
            return run_inline(fn, args, kwargs)
        return self._submit(fn, args, kwargs, current_deadline())

    def spawn(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule a call that may outlive the request, and for which no caller has to wait.

        It has no deadline. If it fails, that is logged by ``flask_concurrency.executors``. The end
        of the process waits for it as for all tasks, ``drain_timeout`` seconds at most. It is not
        durable: a crash or a kill loses it. What must not be lost is a job
        (:meth:`flask_concurrency.Concurrency.job`).

        :raises TaskNotPicklable: The function or an argument cannot be sent to a worker.
        :raises QueueFull: ``max_queue`` tasks are waiting.
        :raises DeadlineExceeded: With ``when_full="wait"``: there was no free slot in time.
        :raises ExecutorShutdown: The executor was shut down.
        """
        if self._inline:
            future = run_inline(fn, args, kwargs)
        else:
            future = self._submit(fn, args, kwargs, None)
        # In the caller's context, so that the record is that of the request.
        context = contextvars.copy_context()
        report = partial(log_failure, self.name, name_of(fn))
        future.add_done_callback(lambda ended: context.run(report, ended))
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: ChunkSize = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Have ``fn`` run for each item in the workers, and return the results in order.

        The items are taken and pickled at once. A ``map`` stands in the queue with at most one
        task for each worker at a time, so it may be longer than the queue and leaves room for
        other callers. The first error ends it: it is raised in place of its result, and calls that
        have not started are cancelled.

        :param timeout: Seconds, from now, until the last result must be there.
        :param chunksize: Items that one task takes; more than 1 pays for very short calls.
            ``"auto"`` chooses it from how long tasks take, and takes items as results are taken. An
            error is raised in place of the results of its chunk.
        :param buffersize: Take items only as results are taken, so many ahead. Default: all.
        :raises TaskNotPicklable: The function or an item cannot be sent to a worker.
        :raises QueueFull: The queue has no room for even one task.
        :raises ExecutorShutdown: The executor was shut down.
        :raises TimeoutError: While results are taken: ``timeout`` has passed.
        """
        # By the pool, not by the executor: an unread ``map`` shall not keep that one alive.
        submit = partial(submit_items, self._pool, Batch(), current_deadline())
        return map_in_order(
            submit,
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
        worker has it yet, and ends that worker if one has.
        """
        if self._inline:
            return await asyncio.wrap_future(run_inline(fn, args, kwargs))
        pool, deadline = self._pool, current_deadline()
        payload = encode_call(fn, args, kwargs, pool.segments)
        task = Task(pool, fn, payload, None, deadline, monotonic())
        pool.submit([task], waits=self._options.when_full == "wait")
        if task.slot is not None:
            with withdrawn_unless_let_in([task], self._options):
                left = time_left(deadline, self._options)
                await asyncio.wait_for(asyncio.wrap_future(task.slot), left)
        result: T = await asyncio.wrap_future(task.future)
        return result

    def share(self, array: Any) -> Any:
        """Return ``array`` as one that any number of tasks see without a copy. It is read-only.

        .. code-block:: python

            samples = concurrency.processes.share(samples)
            totals = concurrency.processes.map(total, numpy.array_split(samples, 8))

        What is returned is used as any other array: a task that is given it, or a part of it in one
        piece, sees the very same memory. Later changes of the original do not reach it. The memory
        is freed when neither this process nor a task refers to it any more, within a second and
        however a worker ends; after a shutdown, when this process does not.

        :param array: A NumPy array of plain items, or another buffer, of which a ``memoryview`` is
            returned. Below 64 KiB, and where there is no shared memory, a read-only copy.
        :raises TypeError: It is neither; or a buffer with gaps, or an array of Python objects.
        :raises ExecutorError: ``max_shared_memory`` has no room for it, or this machine has not.
        :raises ExecutorShutdown: The executor was shut down.
        """
        return self._pool.share(array, copies=self._inline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and end the workers once those that were taken are done.

        :param wait: Return when all that has happened; otherwise at once.
        :param cancel_futures: Cancel the tasks that wait; those that run are not interrupted.
        """
        self._pool.shutdown(wait, cancel_futures)

    def drain(self, timeout: float) -> list[str]:
        """Take no more tasks, and wait for those that were taken.

        What is not done after ``timeout`` is cancelled, and its worker ended if it runs.

        :param timeout: Seconds to wait at most.
        :returns: Names of the tasks that were cancelled, which are also logged.
        """
        require_seconds("timeout", timeout, instead="use shutdown() to wait for all")
        return self._pool.drain(timeout)

    def kill_workers(self) -> None:
        """Shut down without waiting: cancel the tasks that wait, kill the workers.

        The tasks that run fail with ``WorkerDied``.
        """
        self._pool.kill_workers("the executor was told to kill its workers")

    def snapshot(self) -> ProcessSnapshot:
        """Return what the executor is doing in this process. Starts nothing."""
        return self._pool.snapshot()

    def _submit(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        deadline: Deadline | None,
    ) -> Future[Any]:
        pool = self._pool
        payload = encode_call(fn, args, kwargs, pool.segments)
        task = Task(pool, fn, payload, None, deadline, monotonic())
        submit_tasks(pool, [task])
        return task.future

    def _reset_after_fork(self) -> None:
        """Drop the parent's workers; the child's are started by its first task."""
        pool = Pool(self._options, *self._told)
        pool.segments.shared = self._pool.segments.shared  # this process has them, too
        if self._pool.closing:
            pool.close_soon()
        self._use(pool)

    def _use(self, pool: Pool) -> None:
        self._pool = pool
        # A forgotten executor takes its workers along, once its tasks are done.
        finalizer = weakref.finalize(self, pool.close_soon)
        finalizer.atexit = False


def submit_items(
    pool: Pool,
    batch: Batch,
    deadline: Deadline | None,
    fn: Callable[..., Any],
    items: Sequence[tuple[Any, ...]],
) -> Sequence[Future[Any]]:
    """Submit the next calls of a ``map``."""
    if in_worker():
        return [run_inline(fn, args, {}) for args in items]
    segments, now = pool.segments, monotonic()
    tasks = [
        Task(pool, fn, encode_call(fn, args, {}, segments), batch, deadline, now) for args in items
    ]
    submit_tasks(pool, tasks)
    return [task.future for task in tasks]


def submit_tasks(pool: Pool, tasks: Sequence[Task]) -> None:
    """Submit tasks, waiting for a slot in the queue if that is wanted, and allowed here."""
    options = pool.options
    waits = options.when_full == "wait" and not is_on_loop() and not pool.is_background_thread
    pool.submit(tasks, waits=waits)
    slot = tasks[0].slot
    if slot is not None:
        with withdrawn_unless_let_in(tasks, options):
            # A background task has no deadline, but its caller may.
            slot.result(time_left(current_deadline(), options))


def time_left(deadline: Deadline | None, options: ProcessOptions) -> float:
    """Return how many seconds a caller may wait for a slot in the full queue.

    :raises DeadlineExceeded: None.
    """
    left = LONGEST if deadline is None else min(deadline.at - monotonic(), LONGEST)
    if left <= 0:
        raise no_place_in_time(options)
    return left


@contextmanager
def withdrawn_unless_let_in(tasks: Sequence[Task], options: ProcessOptions) -> Iterator[None]:
    """Cancel tasks whose caller stops waiting for a slot, wherever they are by then."""
    try:
        yield
    except BaseException as error:
        for task in tasks:
            task.future.cancel()
        if isinstance(error, TimeoutError) and not isinstance(error, DeadlineExceeded):
            raise no_place_in_time(options) from None
        raise


atexit.register(end_open_pools)


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
        value = contextvars.copy_context().run(call_in_context, fn, args, kwargs)
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(value)
    return future
