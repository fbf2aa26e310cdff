"""Decide what becomes of a request whose task an executor has refused: 503, as any other overload.

Knows Flask's error handling; the error names the executor that is full.
"""

from __future__ import annotations

from typing import Any

from flask import current_app, request
from flask.globals import app_ctx
from flask.typing import ResponseReturnValue

from flask_concurrency.admission.answer import Answer
from flask_concurrency.flask_app.contexts import CONTEXTS_ARE_MERGED
from flask_concurrency.flask_app.current_journey import journey_of
from flask_concurrency.flask_app.http.responses import REFUSED_UNASKED, ServerBusy
from flask_concurrency.vocabulary.errors import QueueFull


def answer_queue_full(error: QueueFull) -> ResponseReturnValue:
    """Flask's error handler: answer 503, by the app's own handler of 503 if it has one."""
    journey_of(request.environ).join(Answer.of(REFUSED_UNASKED))
    busy = ServerBusy(REFUSED_UNASKED, "All workers are taken, and so is the queue for them.")
    busy.__cause__ = error
    answer: Any = current_app.handle_http_exception
    flasks: Any = app_ctx
    context = (flasks._get_current_object(),) if CONTEXTS_ARE_MERGED else ()
    value: ResponseReturnValue = answer(*context, busy)
    return value
