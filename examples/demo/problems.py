"""Decide how an app of the demo says no: always as problem details (RFC 9457), never as a page.

Knows no route, no limit and no extension: it serves stock Flask as well.
"""

from __future__ import annotations

from flask import Flask, json
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.sansio.response import Response


def install(app: Flask) -> None:
    """Let ``app`` answer every HTTP error with ``application/problem+json``."""

    @app.errorhandler(HTTPException)
    def answer(error: HTTPException) -> Response:
        problem = {
            "type": "about:blank",
            "title": error.name,
            "status": error.code,
            "detail": _detail(app, error),
        }
        response = error.get_response()
        response.data = json.dumps(problem)
        response.content_type = "application/problem+json"
        return response


def _detail(app: Flask, error: HTTPException) -> str | None:
    if isinstance(error, RequestEntityTooLarge):
        megabytes = app.config["MAX_CONTENT_LENGTH"] / 1024 / 1024
        return f"The upload is larger than {megabytes:g} MB: choose a smaller one."
    return error.description
