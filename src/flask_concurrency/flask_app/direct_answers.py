"""Answer a request on ASGI by Flask's dispatch itself, without WSGI in between.

What ``Flask.wsgi_app`` does around that dispatch is done here, and what ``Response`` does as a WSGI
application is left out where it would change nothing. Anything else goes the way of WSGI: an app
with middleware or a ``wsgi_app`` of its own from the beginning, a response that is a stream, a
file, a redirect, or of a class that answers in its own way from the response on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

import flask.app
from flask import Flask
from werkzeug.wrappers import Response

from flask_concurrency.asgi.answer import Body
from flask_concurrency.asgi.reply import Reply, Streamed, Whole
from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app.contexts import CONTEXTS_ARE_MERGED
from flask_concurrency.flask_app.current_journey import JOURNEY
from flask_concurrency.flask_app.middleware import (
    TAKEN_AT_ONCE,
    HasSettings,
    JourneyMiddleware,
    Start,
    finish,
    tell_if_refused,
    told,
)
from flask_concurrency.flask_app.work.async_body import AsyncBody
from flask_concurrency.vocabulary.permit import Ending

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_SAY: Final = (
    "__call__",
    "get_wsgi_response",
    "get_wsgi_headers",
    "get_app_iter",
    "iter_encoded",
    "is_sequence",
    "status_code",
    "automatically_set_content_length",
    "autocorrect_location_header",
)
"""What of a ``Response`` says how it is sent."""

_CHANGED: Final = {"location", "content-location"}
"""Fields that Werkzeug changes on their way."""

_PRESERVED: Final = "werkzeug.debug.preserve_context"
"""Set in the environment where a debugger, or Flask's test client, wants to see the context."""


class DirectAnswers:
    """Answers the requests of one app.

    :param app: The app.
    :param state: Has the settings.
    """

    def __init__(self, app: Flask, state: HasSettings) -> None:
        self._app = app
        self._state = state
        self._seen: tuple[object, ...] = ()
        self._direct = False
        self._plain: dict[type, bool] = {}

    def __call__(self, environ: WSGIEnvironment, reply: Reply) -> Body:
        """The whole answer; or its body, once ``reply`` has begun."""
        app = self._app
        middleware: Any = app.wsgi_app
        kind = type(app)
        if self._seen != (middleware, kind.__call__, kind.wsgi_app):
            self._look_at(middleware)
        if not self._direct or _PRESERVED in environ or middleware.refuse(environ) is not None:
            return app(environ, reply.start_response)
        journey = environ[JOURNEY] = Journey()
        try:
            return self._dispatch(app, environ, journey, reply)
        except BaseException:
            journey.stop_clock()
            journey.end(Ending.ABANDONED)
            raise

    def _look_at(self, middleware: Any) -> None:
        kind = type(self._app)
        seen = (middleware, kind.__call__, kind.wsgi_app)
        self._direct = (
            not CONTEXTS_ARE_MERGED  # Flask 3.2 hands its context from one function to the next
            and type(middleware) is JourneyMiddleware
            and middleware.wsgi_app == Flask.wsgi_app.__get__(self._app)
            and _is_of_flask(kind.__call__)
            and _is_of_flask(kind.wsgi_app)
        )
        self._seen = seen  # last: until then another thread looks for itself

    def _dispatch(
        self, app: Flask, environ: WSGIEnvironment, journey: Journey, reply: Reply
    ) -> Body:
        """Do what ``Flask.wsgi_app`` does."""
        context = app.request_context(environ)
        error: BaseException | None = None
        body: Iterable[bytes] = ()
        start: Start | None = None
        streamed: StreamedResponse | None = None
        try:
            try:
                context.push()
                response = app.full_dispatch_request()
            except Exception as raised:
                error = raised
                response = app.handle_exception(raised)
            except BaseException:
                error = sys.exc_info()[1]
                raise
            whole = self._whole(environ, response, journey)
            if whole is None:
                start = Start(self._state, environ, journey, reply.start_response)
                if self._comes_asynchronously(environ, response):
                    streamed = StreamedResponse(response, journey)
                    fields = response.get_wsgi_headers(environ).to_wsgi_list()
                    start(response.status, fields)
                else:
                    body = response(environ, start)
        finally:
            if error is not None and app.should_ignore_error(error):
                error = None
            context.pop(error)
        if streamed is not None:
            journey.stop_clock()
            return streamed
        if whole is None:
            assert start is not None
            return finish(body, journey, start)
        if journey.has_anything_to_end:
            journey.stop_clock()
            journey.end(Ending.COMPLETED)
        response.close()
        return whole

    def _comes_asynchronously(self, environ: WSGIEnvironment, response: Response) -> bool:
        """Whether pieces of a response can be awaited, and nothing changes them on their way."""
        return (
            type(response.response) is AsyncBody
            and self._is_plain(type(response))
            and response.status_code >= 200
            and response.status_code not in (204, 304)
            and environ["REQUEST_METHOD"] != "HEAD"
            and not response.direct_passthrough
            and "Content-Length" not in response.headers
        )

    def _is_plain(self, kind: type[Response]) -> bool:
        plain = self._plain.get(kind)
        if plain is None:
            plain = self._plain[kind] = _is_plain(kind)
        return plain

    def _whole(
        self, environ: WSGIEnvironment, response: Response, journey: Journey
    ) -> Whole | None:
        """The messages of a response, if they are those that WSGI would come to."""
        parts = response.response
        status = response.status_code
        if (
            type(parts) is not list
            or not self._is_plain(type(response))
            or len(parts) != 1
            or type(parts[0]) is not bytes
            or len(parts[0]) > TAKEN_AT_ONCE
            or status < 200
            or status == 204
            or status == 304
            or environ["REQUEST_METHOD"] == "HEAD"
            or response.direct_passthrough
        ):
            return None
        body = parts[0]
        length: bytes | None = None
        fields = []
        for name, value in response.headers:
            name = name.lower()
            said = value.encode("latin-1")
            if name == "content-length":
                length = said
            elif name in _CHANGED:
                return None
            fields.append((name.encode("latin-1"), said))
        counted = b"%d" % len(body)
        if length is None:
            fields.append((b"content-length", counted))
        elif length != counted:
            return None
        if journey.answers:
            more = told(journey, response.status, response.headers, self._state.settings.headers)
            fields += [
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in more
            ]
            tell_if_refused(self._state, environ, journey, response.status)
        return Whole(
            {"type": "http.response.start", "status": status, "headers": fields},
            {"type": "http.response.body", "body": body, "more_body": False},
        )


class StreamedResponse(Streamed):
    """The body of a response whose pieces come asynchronously; the journey ends with it.

    :param response: Its body is an :class:`AsyncBody`.
    """

    __slots__ = ("_journey", "_response")

    def __init__(self, response: Response, journey: Journey) -> None:
        body: Any = response.response
        super().__init__(body.source)
        self._response = response
        self._journey = journey

    def sent(self) -> None:
        """Nothing more comes: what the request held is given back."""
        self._journey.end(Ending.COMPLETED)

    def close(self) -> None:
        """Close the source, and call what waits for the response's end."""
        try:
            self._response.close()
        finally:
            self._journey.end(Ending.ABANDONED)


def _is_of_flask(function: Any) -> bool:
    """Whether it is Flask's own, and not what a tool has put in its place."""
    return (
        isinstance(function, FunctionType) and function.__code__.co_filename == flask.app.__file__
    )


def _is_plain(kind: type[Response]) -> bool:
    """Whether responses of a class are sent as Werkzeug's are."""
    return all(getattr(kind, name) is getattr(Response, name) for name in _SAY)
