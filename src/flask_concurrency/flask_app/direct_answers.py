"""Answer a request on ASGI by Flask's dispatch itself, without WSGI in between.

What ``Flask.wsgi_app`` does around that dispatch is done here, and what ``Response`` does as a WSGI
application is left out where it would change nothing. Anything else goes the way of WSGI: an app
with middleware or a ``wsgi_app`` of its own from the beginning, a response that is a stream, a
file, a redirect, or of a class that answers in its own way from the response on.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Coroutine, Iterable
from enum import Enum
from functools import lru_cache
from inspect import iscoroutinefunction
from types import CoroutineType, FunctionType
from typing import TYPE_CHECKING, Any, Final

import flask.app
from flask import Flask, Request, Response, request_started
from werkzeug.wrappers import Response as AnyResponse

from flask_concurrency.asgi.answer import Answers, Body
from flask_concurrency.asgi.environ import CONNECTION
from flask_concurrency.asgi.reply import Reply, Streamed, Whole
from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app.contexts import CONTEXTS_ARE_MERGED
from flask_concurrency.flask_app.current_journey import JOURNEY
from flask_concurrency.flask_app.loop_endpoints import AWAITED, AWAITS
from flask_concurrency.flask_app.middleware import (
    TAKEN_AT_ONCE,
    HasSettings,
    JourneyMiddleware,
    Start,
    finish,
    tell_if_refused,
    told,
)
from flask_concurrency.flask_app.work.async_body import AsyncBody, OnSharedLoop
from flask_concurrency.streams.event_stream import BeatingAsync
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

_DISPATCH: Final = ("full_dispatch_request", "dispatch_request", "ensure_sync")
"""What of a ``Flask`` calls its views."""

_CHANGED: Final = {b"location", b"content-location"}
"""Fields that Werkzeug changes on their way."""

_PRESERVED: Final = "werkzeug.debug.preserve_context"
"""Set in the environment where a debugger, or Flask's test client, wants to see the context."""


class _Kind(Enum):
    """How a view is called."""

    PLAIN = 0
    ASYNC = 1
    AWAITS = 2
    """It may return a coroutine, to be awaited in its place."""


class DirectAnswers(Answers):
    """Answers the requests of one app.

    On a loop an asynchronous view is awaited right here, with no stack of its own to be set aside
    and without the wrapping that Flask needs to call it from plain code.

    :param app: The app.
    :param state: Has the settings.
    """

    def __init__(self, app: Flask, state: HasSettings) -> None:
        self._app = app
        self._state = state
        self._seen: tuple[object, ...] = ()
        self._direct = False
        self._awaits: OnSharedLoop | None = None
        self._views: dict[str, tuple[object, _Kind]] = {}
        self._plain: dict[type, bool] = {}

    def __call__(self, environ: WSGIEnvironment, reply: Reply) -> Body:
        """The whole answer; or its body, once ``reply`` has begun."""
        if not self._is_direct(environ):
            return self._app(environ, reply.start_response)
        try:
            self._dispatch(environ, reply, None).send(None)
        except StopIteration as end:
            body: Body = end.value
            return body
        raise AssertionError("It waits for what it was not to await.")

    def awaited(self, environ: WSGIEnvironment, reply: Reply) -> Coroutine[Any, Any, Body]:
        """The same on a loop."""
        if not self._is_direct(environ):
            return self._by_wsgi(environ, reply)
        return self._dispatch(environ, reply, self._awaits)

    async def _by_wsgi(self, environ: WSGIEnvironment, reply: Reply) -> Body:
        return self._app(environ, reply.start_response)

    def _is_direct(self, environ: WSGIEnvironment) -> bool:
        """Whether a request passes no WSGI but Flask's own."""
        app = self._app
        middleware: Any = app.wsgi_app
        kind = type(app)
        seen = (
            middleware,
            app.async_to_sync,
            kind.__call__,
            kind.wsgi_app,
            kind.full_dispatch_request,
            kind.dispatch_request,
            kind.ensure_sync,
        )
        if self._seen != seen:
            self._look_at(app, seen)
        if not self._direct or _PRESERVED in environ or middleware.refuse(environ) is not None:
            return False
        # What adaptive limits say of a WebSocket they say in the middleware.
        return CONNECTION not in environ or self._front_is_empty()

    def _look_at(self, app: Flask, seen: tuple[object, ...]) -> None:
        kind = type(app)
        middleware: Any = app.wsgi_app
        self._direct = (
            not CONTEXTS_ARE_MERGED  # Flask 3.2 hands its context from one function to the next
            and type(middleware) is JourneyMiddleware
            and middleware.wsgi_app == Flask.wsgi_app.__get__(app)
            and _is_of_flask(kind.__call__)
            and _is_of_flask(kind.wsgi_app)
        )
        stock = all(
            _is_of_flask(getattr(kind, name)) and name not in vars(app) for name in _DISPATCH
        )
        runner: Any = app.async_to_sync
        self._awaits = runner if stock and isinstance(runner, OnSharedLoop) else None
        self._seen = seen  # last: until then another thread looks for itself

    def _front_is_empty(self) -> bool:
        front = self._state.front
        if front.made_for is not self._state.settings:
            self._state.prepare_front()
        return front.empty

    async def _full_dispatch(
        self, environ: WSGIEnvironment, asked: Request, awaits: OnSharedLoop
    ) -> Response:
        """Do what ``Flask.full_dispatch_request`` does."""
        app = self._app
        app._got_first_request = True
        try:
            if request_started.receivers:
                request_started.send(app, _async_wrapper=app.ensure_sync)
            value: Any = app.preprocess_request()
            if value is None:
                rule = asked.url_rule
                endpoint = "" if rule is None else rule.endpoint
                view = app.view_functions.get(endpoint)
                kind = _Kind.PLAIN if view is None else self._kind(endpoint, view)
                if kind is _Kind.ASYNC and not _flask_answers(asked):
                    value = await awaits.call(view, asked.view_args or {})  # type: ignore[arg-type]
                elif kind is _Kind.AWAITS:
                    environ[AWAITED] = view
                    value = app.dispatch_request()
                    if type(value) is CoroutineType:
                        value = await value
                else:
                    value = app.dispatch_request()
        except Exception as error:
            value = app.handle_user_exception(error)
        return app.finalize_request(value)

    def _kind(self, endpoint: str, view: Any) -> _Kind:
        known = self._views.get(endpoint)
        if known is not None and known[0] is view:
            return known[1]
        kind = _Kind.AWAITS if hasattr(view, AWAITS) else _Kind.PLAIN
        if iscoroutinefunction(view):
            kind = _Kind.ASYNC
        self._views[endpoint] = view, kind
        return kind

    async def _dispatch(
        self, environ: WSGIEnvironment, reply: Reply, awaits: OnSharedLoop | None
    ) -> Body:
        """Do what ``Flask.wsgi_app`` does.

        :param awaits: Awaits the view; ``None`` where a coroutine cannot be awaited.
        """
        app = self._app
        journey = environ[JOURNEY] = Journey()
        counting = self._state.counters.requests
        if counting is not None:
            journey.began_at = counting.clock()
        error: BaseException | None = None
        body: Iterable[bytes] = ()
        start: Start | None = None
        streamed: StreamedResponse | None = None
        try:
            context = app.request_context(environ)
            try:
                try:
                    context.push()
                    if awaits is None:
                        response = app.full_dispatch_request()
                    else:
                        response = await self._full_dispatch(environ, context.request, awaits)
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
                        streamed = streamed_by(response, journey)
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
        except BaseException:
            journey.stop_clock()
            journey.end(Ending.ABANDONED)
            raise

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
            and CONNECTION not in environ
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
            field, said = _field(name), value.encode("latin-1")
            if field == b"content-length":
                length = said
            elif field in _CHANGED:
                return None
            fields.append((field, said))
        counted = b"%d" % len(body)
        if length is None:
            fields.append((b"content-length", counted))
        elif length != counted:
            return None
        if journey.began_at is not None and (counting := self._state.counters.requests):
            counting.count(
                environ, journey, response.status, [("Content-Length", counted.decode())]
            )
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

    __slots__ = ("_body", "_journey", "_on_close", "_response")

    def __init__(self, response: Response, journey: Journey) -> None:
        body: Any = response.response
        super().__init__(body.source)
        self._journey = journey
        self._response: Response | None = response
        self._body: AsyncBody = body
        self._on_close = response._on_close
        if type(response).close is AnyResponse.close:
            self._response = None  # it was sent, and this may be open for hours

    def sent(self) -> None:
        """Nothing more comes: what the request held is given back."""
        self._journey.end(Ending.COMPLETED)

    def close(self) -> None:
        """Close the source, and call what waits for the response's end."""
        try:
            if self._response is not None:
                self._response.close()
            else:  # what that does
                self._body.close()
                for function in self._on_close:
                    function()
        finally:
            self._journey.end(Ending.ABANDONED)


class StreamedEvents(StreamedResponse):
    """The same of a stream of events, which has context variables of its own."""

    __slots__ = ()
    has_context = True
    source: BeatingAsync

    def ask(self) -> Awaitable[Any]:
        """See :meth:`BeatingAsync.ask`."""
        return self.source.ask()

    def piece(self, given: Any) -> bytes | None:
        """See :meth:`BeatingAsync.take`."""
        return self.source.take()

    async def ended(self) -> None:
        """Before the end is told to the client: what its source has to tidy up is part of it."""
        await self.source.aclose()


def streamed_by(response: Response, journey: Journey) -> StreamedResponse:
    """A response whose body is an :class:`AsyncBody`."""
    body: Any = response.response
    of_events = isinstance(body.source, BeatingAsync)
    return (StreamedEvents if of_events else StreamedResponse)(response, journey)


def _flask_answers(asked: Request) -> bool:
    """Whether Flask answers in place of the view."""
    if asked.routing_exception is not None:
        return True
    return asked.method == "OPTIONS" and getattr(asked.url_rule, "provide_automatic_options", False)


@lru_cache(256)  # an app has few
def _field(name: str) -> bytes:
    """How ASGI spells the name of a field."""
    return name.lower().encode("latin-1")


def _is_of_flask(function: Any) -> bool:
    """Whether it is Flask's own, and not what a tool has put in its place."""
    return (
        isinstance(function, FunctionType) and function.__code__.co_filename == flask.app.__file__
    )


def _is_plain(kind: type[Response]) -> bool:
    """Whether responses of a class are sent as Werkzeug's are."""
    return all(getattr(kind, name) is getattr(AnyResponse, name) for name in _SAY)
