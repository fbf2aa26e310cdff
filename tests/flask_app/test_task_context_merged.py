"""The context of a task where Flask has one context for app and request, as its next release."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from flask import (
    Flask,
    Request,
    g,
)
from flask.ctx import AppContext
from flask.globals import app_ctx
from flask.sessions import SecureCookieSession, SessionMixin
from werkzeug.test import EnvironBuilder

from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.flask_app.work import task_context
from flask_concurrency.flask_app.work.task_context import TaskContext
from noted_teardowns import noting_app, teardowns


@pytest.fixture
def app() -> Flask:
    """An app that notes every teardown."""
    return noting_app()


class MergedContext(AppContext):
    """What Flask 3.2 pushes for a request: one context with both app and request."""

    def __init__(self, app: Flask, path: str) -> None:
        super().__init__(app)
        self._shown = app.request_class(EnvironBuilder(path).get_environ())
        self._opened = SecureCookieSession({"user": "Ada"})
        self.url_adapter = app.create_url_adapter(self._shown)

    @property
    def has_request(self) -> bool:
        return True

    @property
    def request(self) -> Request:
        return self._shown

    @property
    def session(self) -> SessionMixin:
        return self._opened

    def copy(self) -> MergedContext:
        return self


@pytest.fixture
def merged(monkeypatch: pytest.MonkeyPatch) -> Callable[[Flask, str], MergedContext]:
    """Make the carrier believe in merged contexts, whatever version of Flask this is."""
    monkeypatch.setattr(task_context, "CONTEXTS_ARE_MERGED", True)
    return MergedContext


def test_merged_contexts_show_the_request_and_give_an_own_app_context(
    app: Flask, threads: ThreadExecutor, merged: Callable[[Flask, str], MergedContext]
) -> None:
    """Its ``g`` and its teardown are the task's, and the request is the caller's."""
    torn_down_requests: list[object] = []
    app.teardown_request(torn_down_requests.append)
    barrier = threading.Barrier(4, timeout=5)

    def task(i: int) -> tuple[object, ...]:
        context = app_ctx._get_current_object()  # type: ignore[attr-defined]
        g.number = i
        barrier.wait()
        return (
            isinstance(context, TaskContext),
            context.has_request,
            context.request.path,
            context.session["user"],
            context.url_adapter is caller.url_adapter,
            context.copy() is caller,
            sorted(g),
            g.number,
        )

    caller = merged(app, "/here")
    caller.push()
    try:
        g.of_the_view = True
        results = list(threads.map(task, range(4)))
        assert sorted(g) == ["of_the_view"]
    finally:
        caller.pop()
    expected = (True, True, "/here", "Ada", True, True, ["number"])
    assert results == [(*expected, i) for i in range(4)]
    assert len(teardowns(app)) == 5
    assert torn_down_requests == []


def test_merged_contexts_without_a_request_show_none(
    app: Flask, threads: ThreadExecutor, merged: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a command, where Flask 3.2 pushes a context that has no request."""
    monkeypatch.setattr(MergedContext, "has_request", False)
    with MergedContext(app, "/"):
        assert not threads.submit(lambda: app_ctx.has_request).result(5)  # type: ignore[attr-defined]


def test_merged_contexts_are_not_in_background_work(
    app: Flask, threads: ThreadExecutor, merged: Callable[[Flask, str], MergedContext]
) -> None:
    """The context that holds the app holds the request, too: the task has a new one."""
    with merged(app, "/here") as caller:
        seen = threads.spawn(app_ctx._get_current_object).result(5)  # type: ignore[attr-defined]
    assert seen.app is app
    assert seen is not caller
    assert not isinstance(seen, TaskContext | MergedContext)
