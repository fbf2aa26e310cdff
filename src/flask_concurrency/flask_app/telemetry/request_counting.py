"""WSGI middleware that counts each request: its route, its status, its time, its limits' answers.

Put around an app once it shows what it counts: a route of another app pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flask_concurrency.engine.journey import NOT_ASKED, Journey
from flask_concurrency.flask_app.current_journey import JOURNEY, ROUTE, UNROUTED
from flask_concurrency.flask_app.telemetry.refused_clients import RefusedClients
from flask_concurrency.telemetry.counters import Counters
from flask_concurrency.telemetry.metrics import (
    DEADLINES_MISSED,
    LIMIT_DECISIONS,
    LIMIT_WAITS,
    REQUEST_DURATION,
    RESPONSE_SIZE,
    known_method,
)
from flask_concurrency.telemetry.names import Change
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.decision import Verdict

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class RequestCounting:
    """WSGI middleware that counts when a response begins, once for each request.

    :param wsgi_app: What is counted.
    :param counters: Gives where.
    :param apart: Names of limits that count by themselves what they refuse.
    :param refusals: Remembers who was refused lately.
    :param clock: Seconds that never go back.
    """

    def __init__(
        self,
        wsgi_app: WSGIApplication,
        counters: Callable[[], Counters],
        *,
        apart: Container[str] = (),
        refusals: RefusedClients | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self._wsgi_app = wsgi_app
        self._counters = counters
        self._apart = apart
        self._refusals = refusals
        self._clock = clock

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began_at = self._clock()
        counted = False

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal counted
            if not counted:  # a response that failed may begin anew, as another one
                counted = True
                self._count(environ, status[:3], headers, self._clock() - began_at)
            return start_response(status, headers, exc_info)

        return self._wsgi_app(environ, start)

    def _count(
        self,
        environ: WSGIEnvironment,
        status: str,
        headers: list[tuple[str, str]],
        seconds: float,
    ) -> None:
        method = known_method(environ["REQUEST_METHOD"])
        route: str = environ.get(ROUTE, UNROUTED)
        changes: list[Change] = [*REQUEST_DURATION.observed(seconds, method, route, status)]
        for name, value in headers:
            if name.lower() == "content-length":
                if value.isdecimal():
                    changes += RESPONSE_SIZE.observed(float(value), method, route)
                break
        journey: Journey | None = environ.get(JOURNEY)
        if journey is not None:
            if journey.decision is not NOT_ASKED:
                changes += _decided(journey, route, self._apart)
                if self._refusals is not None and not journey.decision.admitted:
                    self._refusals.note(journey, environ)
            if journey.overdue:
                changes.append(DEADLINES_MISSED.once(route))
        self._counters().add(changes)


def refusal_changes(method: str, limit: str) -> list[Change]:
    """What to count of a request that an adaptive limit refused on ASGI, beside its decision."""
    return list(REQUEST_DURATION.observed(0.0, known_method(method), UNROUTED, "503"))


def _decided(journey: Journey, route: str, apart: Container[str]) -> Iterator[Change]:
    decision, waits = journey.decision, dict(journey.waits)
    for verdict in decision.verdicts:
        # Where one refuses, the others spent nothing: the request was refused as a whole.
        if (decision.admitted or not verdict.admitted) and verdict.name not in apart:
            result = _result(verdict, waited=verdict.name in waits)
            yield LIMIT_DECISIONS.once(verdict.name, route, result)
    for name, seconds in waits.items():
        yield from LIMIT_WAITS.observed(seconds, name)


def _result(verdict: Verdict, *, waited: bool) -> str:
    if verdict.admitted:
        return "admitted"
    if verdict.shadow:
        return "would_refuse"
    if waited:
        return "gave_up"
    return "over_quota" if verdict.per_client else "busy"
