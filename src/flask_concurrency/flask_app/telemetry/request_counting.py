"""Count each request: its route, its status, its time, its size, its limits' answers.

Called where a response begins, by what stands around the app anyway: to count takes no layer of its
own. Knows no WSGI server, and no app that shows what is counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app.current_journey import UNROUTED
from flask_concurrency.flask_app.telemetry.refused_clients import RefusedClients
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
from flask_concurrency.telemetry.names import Change, Series
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.decision import Labels, Verdict

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

MOST_PLACES: Final = 10_000
"""Places that are remembered; then they are found anew."""

MOST_LENGTHS: Final = 1_000
"""Lengths of responses that are remembered as they are written."""

Places = tuple[int, int, int, int]
"""Where one kind of request is counted: the buckets of its times, their sum, the buckets of its
sizes, their sum; -1 for nowhere."""

Decided = tuple[int, ...]
"""Where it is counted that each limit of a gate admitted."""

_NO_LENGTH: Final = -1, 0
_NOWHERE: Final = -1, -1
_QUICK: Final = SECONDS[0]


class RequestCounting:
    """Counts when a response begins, once for each request.

    :param counters: Gives where.
    :param apart: Names of limits that count by themselves what they refuse.
    :param refusals: Remembers who was refused lately.
    :param clock: Seconds that never go back.
    :ivar clock: What says when a request arrived: :attr:`Journey.began_at`.
    """

    def __init__(
        self,
        counters: Callable[[], Counters],
        *,
        apart: Container[str] = (),
        refusals: RefusedClients | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self._counters = counters
        self._made: Counters | None = None
        self._apart = apart
        self._refusals = refusals
        self._lengths: dict[str, tuple[int, int]] = {}
        self.clock = clock

    def count(
        self,
        environ: WSGIEnvironment,
        journey: Journey,
        status: str,
        headers: Iterable[tuple[str, str]],
    ) -> None:
        """Count a request whose response begins: a journey that has :attr:`Journey.began_at`."""
        # Every request that is counted passes here. Where each number is was found at the first
        # request of its kind; from then on there are only numbers to add.
        now = self.clock()
        began_at, journey.began_at = journey.began_at, None
        assert began_at is not None
        seconds = now - began_at
        for name, value in headers:
            if name == "Content-Length":
                length = value
                break
        else:
            length = _length(headers)
        size, in_bucket = self._lengths.get(length) or self._read_length(length)
        counters = self._made
        if counters is not None:
            with counters.lock:
                here = counters.here
                method, route = environ["REQUEST_METHOD"], journey.route
                places: Places | None = here.places.get((method, route, status))
                if places is not None and now < counters.counts_until_at:
                    time_buckets, time_sum, size_buckets, size_sum = places
                    decided: Decided | None = ()
                    if journey.answers or journey.overdue:
                        decided = here.places.get((_admitted_by(journey), route))
                    if decided is not None and (size < 0 or size_buckets >= 0):
                        cells = here.cells
                        bucket = 0 if seconds <= _QUICK else bisect_left(SECONDS, seconds)
                        cells[time_buckets + bucket] += 1
                        cells[time_sum] += int(seconds * 1e6 + 0.5)
                        if size >= 0:
                            cells[size_buckets + in_bucket] += 1
                            cells[size_sum] += size
                        for cell in decided:
                            cells[cell] += 1
                        return
        self._count_by_name(environ, journey, status, seconds, size)

    def _read_length(self, length: str) -> tuple[int, int]:
        """How many bytes a field says, and the bucket for so many; remembered."""
        if not length.isdecimal():
            return _NO_LENGTH
        if len(self._lengths) >= MOST_LENGTHS:
            self._lengths.clear()
        size = int(length)
        found = self._lengths[length] = size, bisect_left(BYTES, size)
        return found

    def counted(
        self, environ: WSGIEnvironment, journey: Journey, start_response: StartResponse
    ) -> StartResponse:
        """What begins a response, and counts it, where nothing else does."""

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
            if journey.began_at is not None:  # a response that failed may begin anew
                self.count(environ, journey, status, headers)
            return start_response(status, headers, exc_info)

        return start

    def _count_by_name(
        self,
        environ: WSGIEnvironment,
        journey: Journey,
        status: str,
        seconds: float,
        size: int,
    ) -> None:
        """Count, and remember where this kind of request is counted."""
        method, route, code = known_method(environ["REQUEST_METHOD"]), journey.route, status[:3]
        changes: list[Change] = [*REQUEST_DURATION.observed(seconds, method, route, code)]
        if size >= 0:
            changes += RESPONSE_SIZE.observed(float(size), method, route)
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
                *_cells(duration),
                *(_NOWHERE if sizes is None else _cells(sizes)),
            )
        if (labels := _admitted_by(journey)) is not None:
            found = [here.series.get(name) for name, *_ in decided]
            if None not in found:
                here.places[labels, route] = tuple(each.first for each in found if each)


def _length(headers: Iterable[tuple[str, str]]) -> str:
    """What a response whose fields are not written as usual says of its length; may be empty."""
    return next((value for name, value in headers if name.lower() == "content-length"), "")


def _cells(series: Series) -> tuple[int, int]:
    """Where the buckets of a histogram begin, and where its sum is."""
    return series.first, series.first + series.width - 1


def _admitted_by(journey: Journey) -> Labels | None:
    """What was asked of a request that all limits of one gate admitted at once."""
    if len(journey.answers) == 1 and not journey.overdue:
        answer = journey.answers[0]
        if answer.admitted and answer.waited is None and not answer.shadowed:
            return answer.labels
    return None


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
