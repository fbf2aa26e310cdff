"""Decide how an app of the demo says no: always as problem details (RFC 9457), never as a page.

Knows no route and no limit; refusals of limits spell themselves.
"""

from __future__ import annotations

from flask import Flask, Response, json, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from flask_concurrency import Refusal

MAX_DISCARDED = 64 * 1024 * 1024
"""Bytes of a body that is too large, read and thrown away before it is refused."""


def install(app: Flask) -> None:
    """Let ``app`` answer every HTTP error with ``application/problem+json``."""

    @app.errorhandler(HTTPException)
    def answer(error: HTTPException) -> Response | HTTPException:
        if isinstance(error, Refusal):
            return error
        if isinstance(error, RequestEntityTooLarge):
            _discard_body()
        problem = {
            "type": "about:blank",
            "title": error.name,
            "status": error.code,
            "detail": error.description,
        }
        return Response(json.dumps(problem), error.code, mimetype="application/problem+json")


def _discard_body() -> None:
    # A browser that is still sending when the answer comes and the connection closes reports
    # "connection reset" and never shows the answer.
    left = min(request.content_length or 0, MAX_DISCARDED)
    body = request.environ["wsgi.input"]
    while left > 0 and (chunk := body.read(min(left, 64 * 1024))):
        left -= len(chunk)
