"""Decide what a task sees of Flask: its caller's request, and an app context of its own.

Knows no thread and no queue: an executor calls it, in the caller and again where the task runs.

The request is the caller's: ``request`` and ``session`` are the very same objects, so a task reads
what the view reads. What the view has not read yet of the body, it should read before it hands out
tasks that need it: two threads reading one stream each get a part of it.

The app context is not the caller's: extensions keep what must not be shared between threads, such
as Flask-SQLAlchemy's session, per app context. A task gets a new ``g``, and the functions of
``teardown_appcontext`` run when it ends. Those of ``teardown_request`` do not: the request goes on.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, TypeVar

import flask.ctx
from flask import Flask, Request
from flask.ctx import AppContext
from flask.globals import app_ctx
from flask.sessions import SessionMixin

from flask_concurrency.executors.context import CapturedContext, Carried
from flask_concurrency.flask_app.contexts import CONTEXTS_ARE_MERGED
from flask_concurrency.runtime.deadline import Deadline, current_deadline, forget_deadline

T = TypeVar("T")

_CONTEXTS = (AppContext,) if CONTEXTS_ARE_MERGED else (AppContext, flask.ctx.RequestContext)
"""What leads to a request, where a context variable holds it."""


class FlaskCarrier:
    """Take the request, if there is one, and the app along into a task.

    :param app: The app of tasks submitted where none is active, at start-up for example. Without
        it, such tasks run without an app context. It is not kept alive.
    """

    def __init__(self, app: Flask | None = None) -> None:
        # Threads and loops know it, and an app that is forgotten must take those along.
        self._app = (lambda: None) if app is None else weakref.ref(app)

    def __call__(self) -> Carried:
        """Capture the surroundings of the caller, its deadline included."""
        until = current_deadline()
        context = copy_context()
        try:
            active: AppContext = app_ctx._get_current_object()  # type: ignore[attr-defined]
        except RuntimeError:  # no app context is active
            app = self._app()
            if app is None:
                return CapturedContext(context, until)
            return CapturedFlask(context, app, None, until)
        # Where there are two contexts, the request's is among the context variables.
        caller = active if CONTEXTS_ARE_MERGED else None
        return CapturedFlask(context, active.app, caller, until)


class CapturedFlask:
    """The context variables of a caller, and what a new app context is made from.

    :param caller: The caller's context, if it must be asked for the request.
    :ivar deadline: Until when the caller wants the results, or ``None``.
    """

    __slots__ = ("_app", "_caller", "_context", "deadline")

    def __init__(
        self, context: Context, app: Flask, caller: AppContext | None, deadline: Deadline | None
    ) -> None:
        self._context = context
        self._app = app
        self._caller = caller
        self.deadline = deadline

    def detached(self) -> CapturedFlask:
        """The app and the variables of others, such as the name of a trace; no request."""
        context = Context()
        for variable, value in self._context.items():
            if not isinstance(value, _CONTEXTS):
                context.run(variable.set, value)
        forget_deadline(context)
        return CapturedFlask(context, self._app, None, None)

    def report(self, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn``, which only logs, with the caller's variables, its request among them."""
        self._context.copy().run(fn, *args)

    def __call__(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        """Call ``fn`` in an app context of its own."""
        # A Context can be entered by one thread at a time, and an app context be pushed in one:
        # each call makes both anew, so tasks of one request may overlap.
        context = self._context.copy()
        try:
            return context.run(self._call, fn, args, kwargs)
        finally:
            # The traceback of an exception keeps this frame: it shall not keep the request too.
            del self, context, args, kwargs

    def _call(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        caller = self._caller
        own = self._app.app_context() if caller is None else TaskContext(caller)
        try:
            with own:
                return fn(*args, **kwargs)
        finally:
            del self, caller, own, args, kwargs


class TaskContext(AppContext):
    """An app context that looks a request up in another one, for Flask's merged contexts.

    There a new app context hides the request, and a copy of the caller's, when the task ends,
    would run ``teardown_request`` and close the uploads that the view may still be reading. To
    Flask this one holds no request, so it is torn down as an app context; to the task it shows the
    caller's.
    """

    def __init__(self, caller: AppContext) -> None:
        super().__init__(caller.app)
        self._caller: Any = caller
        self.url_adapter = caller.url_adapter  # so that ``url_for`` knows the host

    @property
    def has_request(self) -> bool:
        """Whether the caller handles a request."""
        return bool(self._caller.has_request)

    @property
    def request(self) -> Request:
        """The caller's request."""
        request: Request = self._caller.request
        return request

    @property
    def session(self) -> SessionMixin:
        """The session of the caller's request."""
        session: SessionMixin = self._caller.session
        return session

    def copy(self) -> AppContext:
        """What Flask copies for ``copy_current_request_context``: the caller's context."""
        copied: AppContext = self._caller.copy()
        return copied
