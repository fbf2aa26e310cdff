"""Decide how worker processes find the app, so that each task runs in an app context of its own.

Knows no pool and no worker. An app cannot be sent to another process; what crosses is where to
import it from, which is looked for when the first worker starts: by then the app has its name.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any

import click
from flask import Flask
from flask.cli import ScriptInfo

from flask_concurrency.vocabulary.errors import ConfigurationError
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.processes")

ContextFactory = Callable[[], AbstractContextManager[object]]

_IN_SCRIPT = "__main__:"


class WorkerApp:
    """What to put around tasks in worker processes: a new app context each.

    :param app: The app.
    :param named: Where to import it from, as ``flask --app`` takes it: ``"shop:app"``,
        ``"shop:create_app()"``. Default: its name in the module it was made in, if it has one
        there; else what ``flask --app`` or ``FLASK_APP`` names.
    :raises ConfigurationError: ``named`` is no text.
    """

    def __init__(self, app: Flask, named: str | None = None) -> None:
        if named is not None and (not isinstance(named, str) or not named):
            raise ConfigurationError(
                f"app={named!r} is no place to import an app from. Write 'module:name' or "
                "'module:create_app()'; None runs tasks without an app context."
            )
        # A pool that has not ended is known to the interpreter: it must not keep the app for ever.
        self._app = weakref.ref(app)
        self._import_name = app.import_name
        self._named = named
        self._served = _app_of_command()

    def __call__(self) -> ContextFactory:
        """Find the app where this is called."""
        return find_app(*self._place())

    def __reduce__(self) -> tuple[type[Any], tuple[Any, ...]]:
        """Cross as the place to import the app from."""
        return partial, (find_app, *self._place())

    def _place(self) -> tuple[str | None, str | None]:
        """The place, and the import name that proves that what is there is this app."""
        if self._named is not None:
            return self._named, None
        import_name, app = self._import_name, self._app()
        for name, value in tuple(vars(sys.modules.get(import_name, object)).items()):
            if value is app is not None:
                return f"{import_name}:{name}", import_name
        return self._served or os.environ.get("FLASK_APP") or None, import_name


def find_app(place: str | None, import_name: str | None) -> ContextFactory:
    """Import an app, and return what makes a context for each task.

    :param place: Where to import it from; ``None`` if that is not known.
    :param import_name: What its ``import_name`` must be; ``None`` if ``place`` was given by the
        developer, so that a mistake is raised at once, not in the tasks that use the app.
    """
    if place is None:
        return partial(_WithoutApp, "where to import it from is not known")
    if place.startswith(_IN_SCRIPT):
        return partial(_app_of_script, place.removeprefix(_IN_SCRIPT))
    try:
        app = ScriptInfo(app_import_path=place, set_debug_flag=False).load_app()
    except (Exception, SystemExit) as error:
        if import_name is None:
            raise ConfigurationError(
                f"CONCURRENCY_PROCESSES = {{'app': {place!r}}}: that app cannot be imported in a "
                f"worker process: {type(error).__name__}: {error}"
            ) from error
        told = f"importing {place!r} failed: {type(error).__name__}: {error}"
        logger.warning("In a worker process %s. Tasks run there without an app.", told)
        return partial(_WithoutApp, told)
    if import_name is not None and app.import_name != import_name:
        return partial(_WithoutApp, f"{place!r} is another one")
    return partial(_WithApp, app)


def _app_of_script(name: str) -> AbstractContextManager[object]:
    """The context of an app that is defined in the script that was run.

    A worker imports that script only for a task that is defined there, too, or if it is preloaded.
    """
    app = getattr(sys.modules.get("__mp_main__"), name, None)
    if isinstance(app, Flask):
        return _WithApp(app)
    return _WithoutApp("it is defined in the script that was run, and the task is not")


def _explain_request(error: BaseException | None) -> None:
    if isinstance(error, RuntimeError) and "request context" in str(error):
        error.add_note(
            "Tasks in worker processes have the app, but not the request: hand what they need of "
            "it as arguments, as in processes.submit(work, request.args['q'])."
        )


class _WithApp:
    """Runs a task in the app's context; adds a note to the error of one that uses the request."""

    __slots__ = ("_context",)

    def __init__(self, app: Flask) -> None:
        self._context = app.app_context()

    def __enter__(self) -> None:
        self._context.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _explain_request(error)
        self._context.__exit__(kind, error, traceback)


class _WithoutApp:
    """Runs a task without an app; adds a note to the error of one that uses an app.

    No generator with ``@contextmanager``: that would take longer than a short task itself.

    :param reason: Why there is no app.
    """

    __slots__ = ("_reason",)

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _explain_request(error)
        if isinstance(error, RuntimeError) and "application context" in str(error):
            error.add_note(
                f"Tasks in worker processes have no app here: {self._reason}. Name it in the "
                "configuration: CONCURRENCY_PROCESSES = {'app': 'module:name'}, or "
                "'module:create_app()'."
            )


def _app_of_command() -> str | None:
    """What ``flask --app`` names, if that command is loading the app."""
    context = click.get_current_context(silent=True)
    script = context.find_object(ScriptInfo) if context is not None else None
    return script.app_import_path if script is not None else None
