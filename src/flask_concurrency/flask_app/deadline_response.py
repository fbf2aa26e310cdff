"""Decide what becomes of a request whose deadline has passed: 504, whatever its view says.

Knows Flask's error handling; what notices that the time is up is decided elsewhere.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from flask import Flask, current_app, request
from flask.globals import app_ctx
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app.contexts import CONTEXTS_ARE_MERGED
from flask_concurrency.flask_app.current_journey import JOURNEY
from flask_concurrency.flask_app.http.responses import DeadlinePassed
from flask_concurrency.flask_app.view_wrapping import put_around_view
from flask_concurrency.runtime.deadline import remaining
from flask_concurrency.runtime.deadline_messages import view_was_late
from flask_concurrency.vocabulary.errors import DeadlineExceeded
from flask_concurrency.vocabulary.safe_logger import SafeLogger

HELD = "__flask_concurrency_deadline__"
"""Set on a view function that is held to its deadline."""

logger = SafeLogger("flask_concurrency.deadline")


def hold_to_deadline(app: Flask, endpoint: str) -> None:
    """Make an endpoint's view answer in time or not at all."""
    put_around_view(app, endpoint, HELD, lambda: _InTime(endpoint))


def answer_overdue(error: DeadlineExceeded) -> ResponseReturnValue:
    """Flask's error handler: answer 504, by the app's own handler of 504 if it has one."""
    journey: Journey | None = request.environ.get(JOURNEY)
    if journey is not None:
        journey.overdue = True
    answer: Any = current_app.handle_http_exception
    passed = DeadlinePassed()
    passed.__cause__ = error
    if CONTEXTS_ARE_MERGED:
        handled = answer(app_ctx._get_current_object(), passed)  # type: ignore[attr-defined]
    else:
        handled = answer(passed)
    value: ResponseReturnValue = handled
    return value


class _InTime:
    """A block that ends late only with ``DeadlineExceeded``.

    An error after the deadline most often comes of it, such as the time-out of a call that was
    given the time left; one that does not is found in the log.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def __enter__(self) -> None:
        if remaining() == 0.0:  # the hooks took it all: no client waits for the view
            self.__exit__(None, None, None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if remaining() != 0.0 or isinstance(error, DeadlineExceeded):
            return
        if error is not None:
            if not isinstance(error, Exception):
                return
            if not isinstance(error, HTTPException):
                logger.warning("%r failed after its deadline", self._endpoint, exc_info=error)
        raise view_was_late(self._endpoint) from error
