"""Make the executors of an app, and load their modules, at their first use.

Most apps use one kind of them, or none, and loading all takes as long as loading Flask. Knows no
executor and no request.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Flask

from flask_concurrency.flask_app.settings import Settings
from flask_concurrency.flask_app.work.worker_app import WorkerApp
from flask_concurrency.runtime.gevent_patch import refuse_late_patch
from flask_concurrency.vocabulary.executor_names import Meaning

if TYPE_CHECKING:
    from flask_concurrency.executors.task_end import OnTaskEnd
    from flask_concurrency.flask_app.work.async_body import OnSharedLoop
    from flask_concurrency.flask_app.work.executors import AppExecutors


class ExecutorsAtFirstUse:
    """The executors of one app, from the moment on that one is asked for.

    Those that the configuration says something of are made at once, so that what is wrong there is
    told where it is written.

    :param app: The app. Its ``async`` functions are an use.
    :param added: Names of further executors; later additions are seen.
    :param on_first_task: Called at the first task of each of them, in each process.
    :param on_task_end: Gives what an executor of a name tells how each task ended.
    :param runs_as_in_flask: Whether ``async`` functions of the current request run on a loop of
        their own.
    :ivar made: What was made; ``None`` before.
    :raises ConfigurationError: ``THREADS`` or ``PROCESSES`` holds a wrong option.
    """

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        *,
        added: Mapping[str, Meaning],
        on_first_task: Callable[[], object],
        on_task_end: Callable[[str], OnTaskEnd],
        runs_as_in_flask: Callable[[], bool],
    ) -> None:
        self.made: AppExecutors | None = None
        self._app = app
        self._make = partial(
            _make,
            app,
            settings,
            added=added,
            on_first_task=on_first_task,
            on_task_end=on_task_end,
            worker_app=WorkerApp(app),  # which command has loaded it is known here, and not later
        )
        self._runs_as_in_flask = runs_as_in_flask
        # Flask's documented way to choose what runs its async functions.
        app.async_to_sync = self._first_async_to_sync  # type: ignore[method-assign, assignment]
        if settings.threads or settings.processes:
            self.get()

    def get(self) -> AppExecutors:
        """The executors, of which none has started anything before its first task.

        :raises ConfigurationError: gevent has replaced threads too late.
        """
        made = self.made
        if made is None:
            refuse_late_patch()
            # Two threads may make them at once; all but the first ones are forgotten, unused.
            made = self.__dict__.setdefault("_first", self._make())
            self.made = made
        return made

    def run_async(self) -> OnSharedLoop:
        """What runs the app's ``async`` functions, in the place of what was to make it."""
        from flask_concurrency.flask_app.work.executors import run_async

        run = run_async(self._app, self.get(), self._runs_as_in_flask)
        if self._app.async_to_sync == self._first_async_to_sync:  # no other code has replaced it
            self._app.async_to_sync = run  # type: ignore[method-assign, assignment]
        return run

    def _first_async_to_sync(
        self, function: Callable[..., Coroutine[Any, Any, Any]]
    ) -> Callable[..., Any]:
        return self.run_async()(function)


def _make(app: Flask, settings: Settings, **options: Any) -> AppExecutors:
    from flask_concurrency.flask_app.work.executors import make_executors

    return make_executors(app, settings, **options)
