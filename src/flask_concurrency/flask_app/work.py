"""The part of the extension that runs work: an app's executors, and groups of tasks on them.

Knows where the current app's executors are; decides nothing about a request.
"""

from __future__ import annotations

from concurrent.futures import Executor

from flask_concurrency.executors.groups import TaskGroup
from flask_concurrency.executors.groups.policy import PolicyName
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.named_executors import Meaning, check_meaning
from flask_concurrency.executors.processes.executor import ProcessExecutor
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.runtime.deadline import remaining
from flask_concurrency.vocabulary.errors import ConfigurationError


class Work:
    """Where the work of the current app runs."""

    def __init__(self) -> None:
        self._added: dict[str, Meaning] = {}

    def _current_state(self) -> AppState:
        raise NotImplementedError

    @property
    def threads(self) -> ThreadExecutor:
        """The app's bounded pool of threads: a :class:`concurrent.futures.Executor`.

        Each task sees the caller's request and has an app context of its own. ``map`` gives
        results in order; ``await concurrency.threads.run(fn, …)`` waits without blocking a loop.
        """
        return self._current_state().executors_in_use.threads

    @property
    def processes(self) -> ProcessExecutor:
        """The app's warm pool of worker processes: a :class:`concurrent.futures.Executor`.

        Functions, arguments and results must be picklable; a worker that dies fails only its own
        task.
        """
        return self._current_state().executors_in_use.processes

    @property
    def loop(self) -> LoopThread:
        """The event loop on which the app's ``async`` views run, one for the whole process."""
        return self._current_state().executors_in_use.loop

    def add_executor(self, name: str, executor: Meaning) -> None:
        """Give any other :class:`concurrent.futures.Executor` a name, beside the app's own two.

        .. code-block:: python

            concurrency.add_executor("dask", client.get_executor())

        Its tasks fail at their deadline as any others do. The request is taken along to a
        ``ThreadPoolExecutor``; to others goes nothing but the arguments.
        ``CONCURRENCY_EXECUTORS`` may say otherwise what a name stands for.

        :param name: What to call it.
        :param executor: The executor, a function that makes it when it is first needed, or the
            name of another one.
        :raises ConfigurationError: It is none of these, or the name is taken.
        """
        check_meaning(name, executor)
        if name in self._added:
            raise ConfigurationError(
                f"There is an executor {name!r} already: {self._added[name]!r}. "
                "Choose another name."
            )
        self._added[name] = executor

    def executor(self, name: str) -> Executor:
        """The executor of a name: ``"threads"``, ``"processes"``, or one that was added.

        :raises ConfigurationError: There is none of that name.
        """
        return self._current_state().executors_in_use.named.get(name)

    def task_group(self, timeout: float | None = None, policy: PolicyName = "all") -> TaskGroup:
        """Tasks that end with their block, wherever each of them runs.

        .. code-block:: python

            with concurrency.task_group(timeout=3.0) as group:
                page = group.threads.submit(fetch, url)
                size = group.processes.submit(crunch, data)
            return {"page": page.result(), "size": size.result()}

        In coroutines it is ``async with``, and tasks can be awaited. ``group.loop`` takes async
        functions, ``group.executor(name)`` is any other executor.

        :param timeout: Seconds for all tasks together, or less if the request has less. ``None``:
            as much as the request has.
        :param policy: ``"all"``: the first error cancels the rest and is raised. ``"any"``: the
            first result is ``group.result()``, and cancels the rest. ``"settle"``: all are waited
            for, and ``group.results()`` tells how each ended. ``"partial"``: as ``"all"``, but at
            the deadline ``group.results()`` are those that are ready.
        :raises ConfigurationError: ``timeout`` or ``policy`` is none.
        """
        executors = self._current_state().executors_in_use
        return TaskGroup(executors.named.get, executors.loop, timeout=timeout, policy=policy)

    @staticmethod
    def remaining() -> float | None:
        """Seconds left for the work in hand, ``0.0`` if its time is up; ``None`` for no deadline.

        In a view, and in the tasks it hands to threads, to worker processes and to the loop.
        """
        return remaining()
