"""Say what happened between two readings of the counters. Arithmetic alone: no clock, no file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from flask_concurrency.telemetry.metrics import (
    JOBS,
    LIMIT_DECISIONS,
    LIMIT_WAITS,
    REQUEST_DURATION,
    Metric,
)
from flask_concurrency.telemetry.names import Name, Totals

REFUSALS: Final = frozenset({"over_quota", "busy", "gave_up", "shed"})
"""Results of a limit that kept a request out."""

REFUSED: Final = frozenset({"429", "503"})
"""Status codes of a refusal."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came in and what became of it.

    :ivar requests: All of them.
    :ivar good: Answered below 400.
    :ivar refused: Answered 429 or 503.
    :ivar errors: Answered 5xx otherwise, 504 not among them.
    :ivar late: Answered 504.
    :ivar seconds: What they took together.
    """

    requests: int = 0
    good: int = 0
    refused: int = 0
    errors: int = 0
    late: int = 0
    seconds: float = 0.0

    @property
    def mean(self) -> float:
        """Seconds that a request took; ``0.0`` for none."""
        return self.seconds / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class RouteLoad:
    """The same for one route and method.

    :ivar p50: Seconds in which half of the requests that were not refused were answered, as the
        upper bound of a bucket.
    :ivar p95: Seconds for nineteen in twenty.
    """

    method: str
    route: str
    load: Load
    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class LimitLoad:
    """What one limit decided, for one route.

    :ivar results: Requests by result, such as ``"admitted"`` or ``"over_quota"``.
    """

    limit: str
    route: str
    results: dict[str, int]

    @property
    def refused(self) -> int:
        """Requests that it kept out."""
        return sum(number for result, number in self.results.items() if result in REFUSALS)


@dataclass(frozen=True, slots=True)
class JobLoad:
    """What became of the jobs of one name.

    :ivar events: How many were ``"submitted"``, ``"started"``, ``"succeeded"``, ``"failed"``,
        ``"canceled"`` and ``"rescued"`` from a worker that died; those alone that happened.
    """

    name: str
    events: dict[str, int]


def difference(before: Totals, now: Totals) -> Totals:
    """What was added to each name; what has not grown is left out."""
    found: dict[Name, tuple[int, ...]] = {}
    for name, numbers in now.items():
        earlier = before.get(name)
        if earlier == numbers:
            continue
        if earlier is None or len(earlier) != len(numbers):
            found[name] = numbers
        else:
            found[name] = tuple(max(0, b - a) for a, b in zip(earlier, numbers, strict=True))
    return found


def load_of(changes: Totals, *, without: str = "") -> Load:
    """What all requests together came to.

    :param without: Leave out routes that begin so, which only watch.
    """
    return _sum(numbers for numbers in _requests(changes, without))


def routes_of(changes: Totals, *, without: str = "") -> list[RouteLoad]:
    """The load of each route, the one first that took most time together."""
    found: defaultdict[tuple[str, str], list[tuple[str, tuple[int, ...]]]] = defaultdict(list)
    for name, numbers in _requests(changes, without):
        found[name[1], name[2]].append((name[3], numbers))
    loads = []
    for (method, route), series in found.items():
        load = _sum(((REQUEST_DURATION.name, method, route, code), n) for code, n in series)
        let_in = [numbers[:-1] for code, numbers in series if code not in REFUSED]
        buckets = [sum(column) for column in zip(*let_in, strict=True)]
        loads.append(
            RouteLoad(
                method,
                route,
                load,
                quantile(REQUEST_DURATION, buckets, 0.5),
                quantile(REQUEST_DURATION, buckets, 0.95),
            )
        )
    return sorted(loads, key=lambda each: each.load.seconds, reverse=True)


def limits_of(changes: Totals) -> list[LimitLoad]:
    """What each limit decided, the one first that kept most out."""
    found: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for name, numbers in changes.items():
        if name[0] == LIMIT_DECISIONS.name:
            found[name[1], name[2]][name[3]] = numbers[0]
    loads = [LimitLoad(limit, route, results) for (limit, route), results in found.items()]
    return sorted(loads, key=lambda each: (-each.refused, each.limit, each.route))


def jobs_of(changes: Totals) -> list[JobLoad]:
    """What became of the jobs of each name, the one first of which most failed."""
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for name, numbers in changes.items():
        if name[0] == JOBS.name:
            found[name[1]][name[2]] = numbers[0]
    loads = [JobLoad(job, events) for job, events in found.items()]
    return sorted(loads, key=lambda each: (-each.events.get("failed", 0), each.name))


def mean_wait(changes: Totals) -> float:
    """Seconds that requests which waited for a limit did so, in the mean; ``0.0`` for none."""
    waited, seconds = 0, 0.0
    for name, numbers in changes.items():
        if name[0] == LIMIT_WAITS.name:
            waited += sum(numbers[:-1])
            seconds += LIMIT_WAITS.sum_of(numbers)
    return seconds / waited if waited else 0.0


def quantile(metric: Metric, buckets: list[int], share: float) -> float:
    """The bound below which a share of what a histogram has counted lies; ``0.0`` for nothing.

    What is beyond the last bound counts as twice that.
    """
    total, up_to = sum(buckets), 0
    if not total:
        return 0.0
    for bound, number in zip((*metric.bounds, 2 * metric.bounds[-1]), buckets, strict=True):
        up_to += number
        if up_to >= share * total:
            return bound
    raise AssertionError("the buckets hold the total")


def _requests(changes: Totals, without: str) -> Iterator[tuple[Name, tuple[int, ...]]]:
    for name, numbers in changes.items():
        if name[0] == REQUEST_DURATION.name and not (without and name[2].startswith(without)):
            yield name, numbers


def _sum(series: Iterator[tuple[Name, tuple[int, ...]]]) -> Load:
    requests = good = refused = errors = late = 0
    seconds = 0.0
    for name, numbers in series:
        status, number = name[3], sum(numbers[:-1])
        requests += number
        seconds += REQUEST_DURATION.sum_of(numbers)
        if status in REFUSED:
            refused += number
        elif status == "504":
            late += number
        elif status >= "500":
            errors += number
        elif status < "400":
            good += number
    return Load(requests, good, refused, errors, late, seconds)
