"""WSGI middleware that counts each request: its route, its status, its time, its limits' answers.

Put around an app once it shows what it counts: a route of another app pays nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app.current_journey import JOURNEY, ROUTE, UNROUTED
from flask_concurrency.flask_app.telemetry.refused_clients import RefusedClients
from flask_concurrency.telemetry.cells import Cells
from flask_concurrency.telemetry.counters import Counters
from flask_concurrency.telemetry.metrics import (
    BYTES,
    DEADLINES_MISSED,
    LIMIT_DECISIONS,
    LIMIT_WAITS,
    OTHER,
    REQUEST_DURATION,
    RESPONSE_SIZE,
    SECONDS,
    known_method,
)
from flask_concurrency.telemetry.names import Change
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.decision import Labels, Verdict

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MOST_PLACES: Final = 10_000
"""Places that are remembered; then they are found anew."""

Places = tuple[int, int]
"""Where the times of one kind of request are counted, and where their sizes are; -1 for nowhere."""

Decided = tuple[int, ...]
"""Where it is counted that each limit of a gate admitted."""

_DURATION_SUM: Final = REQUEST_DURATION.width - 1
_SIZE_SUM: Final = RESPONSE_SIZE.width - 1


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
        self._made: Counters | None = None
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
                self._count(environ, status, headers, began_at)
            return start_response(status, headers, exc_info)

        return self._wsgi_app(environ, start)

    def _count(
        self,
        environ: WSGIEnvironment,
        status: str,
        headers: list[tuple[str, str]],
        began_at: float,
    ) -> None:
        # Every request that is counted passes here. Where each number is was found at the first
        # request of its kind; from then on there are only numbers to add.
        now = self._clock()
        seconds = now - began_at
        length = dict(headers).get("Content-Length") or _length(headers)
        size = int(length) if length.isdecimal() else -1
        route: str = environ.get(ROUTE, UNROUTED)
        counters = self._made
        if counters is not None:
            here = counters.here
            places: Places | None = here.places.get((environ["REQUEST_METHOD"], route, status))
            if places is not None:
                duration, sizes = places
                journey: Journey | None = environ.get(JOURNEY)
                decided: Decided | None = ()
                if journey is not None and (journey.answers or journey.overdue):
                    decided = _decided_at(journey, route, here)
                if decided is not None and (size < 0 or sizes >= 0):
                    with counters.lock:
                        if counters.counts_in(here, now):
                            cells = here.cells
                            cells[duration + bisect_left(SECONDS, seconds)] += 1
                            cells[duration + _DURATION_SUM] += int(seconds * 1e6 + 0.5)
                            if size >= 0:
                                cells[sizes + bisect_left(BYTES, size)] += 1
                                cells[sizes + _SIZE_SUM] += size
                            for cell in decided:
                                cells[cell] += 1
                            return
        self._count_by_name(environ, route, status, seconds, size)

    def _count_by_name(
        self,
        environ: WSGIEnvironment,
        route: str,
        status: str,
        seconds: float,
        size: int,
    ) -> None:
        """Count, and remember where this kind of request is counted."""
        method, code = known_method(environ["REQUEST_METHOD"]), status[:3]
        changes: list[Change] = [*REQUEST_DURATION.observed(seconds, method, route, code)]
        if size >= 0:
            changes += RESPONSE_SIZE.observed(float(size), method, route)
        journey: Journey | None = environ.get(JOURNEY)
        decided: list[Change] = []
        if journey is not None:
            decided = list(_decided(journey, route, self._apart))
            if self._refusals is not None and not journey.decision.admitted:
                self._refusals.note(journey, environ)
            if journey.overdue:
                changes.append(DEADLINES_MISSED.once(route))
        counters = self._made = self._counters()
        counters.add(changes + decided)
        here = counters.here
        if len(here.places) >= MOST_PLACES:
            here.places.clear()
        duration = here.series.get((REQUEST_DURATION.name, method, route, code))
        sizes = here.series.get((RESPONSE_SIZE.name, method, route))
        if duration is not None and method != OTHER:  # clients may invent others
            here.places[method, route, status] = (
                duration.first,
                -1 if sizes is None else sizes.first,
            )
        if journey is not None and (labels := _admitted_by(journey)) is not None:
            found = [here.series.get(name) for name, *_ in decided]
            if None not in found:
                here.places[labels, route] = tuple(each.first for each in found if each)


def _length(headers: list[tuple[str, str]]) -> str:
    """What a response whose fields are not written as usual says of its length; may be empty."""
    return next((value for name, value in headers if name.lower() == "content-length"), "")


def _admitted_by(journey: Journey) -> Labels | None:
    """What was asked of a request that all limits of one gate admitted at once."""
    if len(journey.answers) == 1 and not journey.overdue:
        answer = journey.answers[0]
        if answer.admitted and answer.waited is None and all(o[0] for o in answer.outcomes):
            return answer.labels
    return None


def _decided_at(journey: Journey, route: str, here: Cells) -> Decided | None:
    """Where to count what a request's limits have said; ``None`` if that is to be found out."""
    labels = _admitted_by(journey)
    return None if labels is None else here.places.get((labels, route))


def refusal_changes(method: str, limit: str) -> list[Change]:
    """What to count of a request that an adaptive limit refused on ASGI, beside its decision."""
    return list(REQUEST_DURATION.observed(0.0, known_method(method), UNROUTED, "503"))


def _decided(journey: Journey, route: str, apart: Container[str]) -> Iterator[Change]:
    if not journey.answers:
        return
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
