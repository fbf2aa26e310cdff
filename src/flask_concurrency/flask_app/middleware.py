"""WSGI middleware around ``app.wsgi_app``: send rate-limit fields, end every journey once.

Knows WSGI and journeys; decides no limit.

Header fields are added here and not to Flask's ``Response``: a response that the app keeps and
sends again, from a cache, would carry one client's counts to another.

Permits return here and not in ``call_on_close``, because Werkzeug never calls that for a
response in direct passthrough, which is what ``send_file`` makes; and not in
``teardown_request``, because that runs before a streamed body is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from flask_concurrency.admission.answer import Answer
from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app.app_counters import AppCounters
from flask_concurrency.flask_app.current_journey import JOURNEY
from flask_concurrency.flask_app.http.rate_limit_fields import (
    fields_of,
    legacy_fields,
    rate_limit_fields,
)
from flask_concurrency.flask_app.http.responses import (
    Refusal,
    is_error,
    refusal,
    retry_after,
    too_old,
)
from flask_concurrency.flask_app.overload.control import ADMITTED
from flask_concurrency.flask_app.overload.front import Front
from flask_concurrency.flask_app.refusal_cache import RefusalCache, request_identity
from flask_concurrency.flask_app.settings import Settings
from flask_concurrency.flask_app.telemetry.signals import request_refused
from flask_concurrency.vocabulary.clock import wall
from flask_concurrency.vocabulary.decision import Decision
from flask_concurrency.vocabulary.permit import Ending

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


TAKEN_AT_ONCE = 16_384
"""Bytes that a socket takes without waiting for the client: what Linux gives one to begin with."""


class HasSettings(Protocol):
    """What an app owns, as far as it is needed here."""

    settings: Settings
    front: Front
    counters: AppCounters
    prepare_front: Callable[[], None]
    tell_refused: Callable[[dict[str, Any], Decision, str], None]

    @property
    def enabled_now(self) -> bool:
        """Whether limits are applied, as far as that is known outside of Flask."""
        ...


class JourneyMiddleware:
    """WSGI middleware that reports each request's decision and ends its journey exactly once.

    :ivar wsgi_app: What was there before, usually Flask's own ``wsgi_app``.
    :param state: Has the settings, which may change until the first request.
    :param refusals: Refusals to repeat without Flask.
    """

    def __init__(
        self,
        wsgi_app: WSGIApplication,
        *,
        state: HasSettings,
        refusals: RefusalCache,
    ) -> None:
        self.wsgi_app = wsgi_app
        self._state = state
        self._refusals = refusals
        self._refused = refusals.refused  # asked first, since it is empty for most of the time

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        journey = environ[JOURNEY] = Journey()
        state = self._state
        front = state.front
        settings = state.settings
        counting = state.counters.requests
        if counting is not None:
            journey.began_at = counting.clock()
        if front.made_for is not settings:
            state.prepare_front()
            settings = state.settings
        if front.control is not None or front.health is not None:
            begin = start_response
            if counting is not None:
                begin = counting.counted(environ, journey, start_response)
            answer = front.wsgi(environ, begin, journey, enabled=state.enabled_now)
            if answer is not None:
                return answer

        app: WSGIApplication = self.wsgi_app
        if self._refused or settings.max_request_age is not None:
            refused = self._refused_here(environ, journey)
            if refused is not None:
                journey.join(Answer.of(refused.decision))
                app = refused
        start = Start(state, environ, journey, start_response)
        try:
            body = app(environ, start)
        except BaseException:
            journey.stop_clock()
            journey.end(Ending.ABANDONED)
            raise
        if start.started and not journey.has_anything_to_end:
            return body
        return finish(body, journey, start)

    def refuse(self, environ: WSGIEnvironment) -> Refusal | None:
        """The refusal of a request that Flask need not see; ``None`` to let it on."""
        if self._refused or self._state.settings.max_request_age is not None:
            return self._refused_here(environ, Journey())
        return None

    def _refused_here(self, environ: WSGIEnvironment, journey: Journey) -> Refusal | None:
        """Refuse what Flask need not see; never a request of another origin, which needs CORS."""
        if "HTTP_ORIGIN" in environ or not self._state.enabled_now:
            return None
        old = too_old(environ, self._state.settings.max_request_age)
        if old is not None:
            return old
        who = request_identity(environ)
        again = self._refusals.recall(who)
        if again is None:
            return None
        journey.route = self._refusals.route(who)
        return refusal(again)


class Start:
    """What one application calls to begin its answer: adds what its client is told of its limits.

    :param state: Has the settings.
    :param journey: The request's.
    :param start_response: The server's.
    :ivar length: The bytes that follow, as far as that is known and of interest.
    :ivar started: Whether it was called.
    :ivar late: The body that began before it was.
    """

    # Most requests leave these as they are: class attributes cost nothing to set.
    length: int | None = None
    started = False
    late: _LateBody | None = None

    def __init__(
        self,
        state: HasSettings,
        environ: WSGIEnvironment,
        journey: Journey,
        start_response: StartResponse,
    ) -> None:
        self._state = state
        self._environ = environ
        self._journey = journey
        self._start_response = start_response

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        """See PEP 3333."""
        self.started = True
        journey = self._journey
        if journey.began_at is not None and (counting := self._state.counters.requests):
            counting.count(self._environ, journey, status, headers)
        if journey.has_anything_to_end and journey.holds_permit:
            self.length, is_event_stream = _length_and_kind(headers)
            if self.late is not None:
                self.late.expect(self.length)
            if is_event_stream and ADMITTED in self._environ:
                # It is answered with its beginning; how long it goes on says nothing of the app.
                self._environ[ADMITTED].end_early()
        if journey.answers:
            headers = headers + told(journey, status, headers, self._state.settings.headers)
            if request_refused.receivers:
                tell_if_refused(self._state, self._environ, journey, status)
        return self._start_response(status, headers, exc_info)


def told(
    journey: Journey, status: str, headers: Iterable[tuple[str, str]], fields: object
) -> list[tuple[str, str]]:
    """The header fields that tell a client of its limits.

    :param headers: What is sent beside them.
    :param fields: What the settings say of them.
    """
    answer = journey.answers[0]
    if answer.admitted and fields is True and len(journey.answers) == 1:
        return fields_of(answer.labels, answer.outcomes)
    decision = journey.decision
    more = rate_limit_fields(decision.verdicts) if fields else []
    if fields == "legacy":
        more = [*more, *legacy_fields(decision.verdicts, wall())]
    # A view may have caught a refusal and answered all the same.
    if not decision.admitted and is_error(status):
        more = [*more, *_when_to_return(decision, headers)]
    return more


def tell_if_refused(
    state: HasSettings, environ: WSGIEnvironment, journey: Journey, status: str
) -> None:
    """Send the signal of a refused request, if this is one and anything listens."""
    if request_refused.receivers and not journey.decision.admitted and is_error(status):
        state.tell_refused(environ, journey.decision, status)


def finish(body: Iterable[bytes], journey: Journey, start: Start) -> Iterable[bytes]:
    """The body to give the server, which ends the journey where it holds anything."""
    if not start.started:  # middleware that is a generator: the app has not been called yet
        start.late = _LateBody(body, journey, None)
        return start.late
    if not journey.has_anything_to_end:
        return body
    journey.stop_clock()
    if not journey.holds_permit:
        return body
    if start.length is not None and 0 < start.length <= TAKEN_AT_ONCE:
        return _take_short(body, journey, start.length)
    return _Body(body, journey, start.length)


def _take_short(body: Iterable[bytes], journey: Journey, length: int) -> Iterable[bytes]:
    """Take the first chunk of a body that is short; end the journey, if that is all of it.

    The server is given what iterates without Python: to go through :class:`_Body` for each chunk,
    for the end, and to be closed takes 3 µs more (``./scripts/bench overload-admitted``).

    :param length: The bytes it has.
    """
    try:
        chunks = iter(body)
        chunk = next(chunks, None)
    except BaseException:
        _close(body, journey)  # the server has no body that it could close
        raise
    if chunk is None:
        chunk = b""
    elif len(chunk) < length:
        slow = _Body(body, journey, length)
        slow.chunks = chain((chunk,), chunks)
        return slow
    journey.end(Ending.COMPLETED)
    taken = _Taken((chunk,), chunks)
    taken.close = getattr(body, "close", _nothing)
    return taken


def _close(body: Iterable[bytes], journey: Journey) -> None:
    try:
        close: Any = getattr(body, "close", None)
        if close is not None:
            close()
    finally:
        if not journey.ended:
            journey.end(Ending.ABANDONED)


def _nothing() -> None:
    """What closes a body that need not be closed."""


def _when_to_return(
    decision: Decision, headers: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """``Retry-After``, unless a handler of the app set it or coming back is of no use."""
    seconds = retry_after(decision)
    if seconds is None or any(name.lower() == "retry-after" for name, _ in headers):
        return []
    return [("Retry-After", str(seconds))]


def _length_and_kind(headers: list[tuple[str, str]]) -> tuple[int | None, bool]:
    """How many bytes a response says it has, and whether it is a stream of events."""
    length: int | None = None
    is_event_stream = False
    for name, value in headers:
        if len(name) == len("content-length") and name.lower() == "content-length":
            length = int(value) if value.isdecimal() else None
        elif len(name) == len("content-type") and name.lower() == "content-type":
            is_event_stream = value.startswith("text/event-stream")
    return length, is_event_stream


class _Body:
    """A response body that ends the journey when it is sent, closed, or forgotten.

    The last chunk of a body of known length, if it is short, counts as sent when the server takes
    it. The server says so only after the client may have read it, and the client's next request
    would find its own last one inside; Flask's test client does not say so at all.

    :param length: The bytes it has, as far as that is known.
    :ivar chunks: What is left of it.
    """

    __slots__ = ("_body", "_journey", "_left", "chunks")

    def __init__(self, body: Iterable[bytes], journey: Journey, length: int | None) -> None:
        self._left = length
        self._body = body
        self._journey = journey
        try:
            self.chunks: Iterator[bytes] = iter(body)
        except BaseException:
            self.close()  # the server has no body that it could close
            raise

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self.chunks)
            if self._left is not None:
                self._left -= len(chunk)
                if self._left <= 0 and len(chunk) <= TAKEN_AT_ONCE:
                    self._journey.end(Ending.COMPLETED)
            return chunk
        except StopIteration:
            # The server asks for more only once the last chunk is on its way.
            if not self._journey.ended:
                self._journey.end(Ending.COMPLETED)
            raise
        except BaseException:
            self._journey.end(Ending.ABANDONED)
            raise

    def close(self) -> None:
        """What every server calls at the end, early if the client has left."""
        _close(self._body, self._journey)

    def __del__(self) -> None:  # a server or test that dropped the body without closing it
        if not self._journey.ended:
            self._journey.end(Ending.ABANDONED)


class _Taken(chain[bytes]):
    """A response body whose journey has ended, since its last chunk counts as sent.

    :ivar close: What every server calls at the end, early if the client has left.
    """

    __slots__ = ("close",)

    close: Callable[[], object]


class _LateBody(_Body):
    """The body of an app that begins only when the server asks for the first chunk."""

    __slots__ = ()

    def expect(self, length: int | None) -> None:
        """Learn how many bytes it has."""
        self._left = length

    def __next__(self) -> bytes:
        try:
            return super().__next__()
        finally:
            self._journey.stop_clock()

    def close(self) -> None:
        """What every server calls at the end, early if the client has left."""
        try:
            super().close()
        finally:
            self._journey.stop_clock()
