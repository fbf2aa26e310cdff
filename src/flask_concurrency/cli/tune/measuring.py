"""Measure one route at rising concurrency, within a budget of seconds. Advises nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from flask_concurrency.cli.tune.offered_load import Answers, many_a_second, many_at_once
from flask_concurrency.cli.tune.processor_time import used
from flask_concurrency.cli.tune.scalability import Level, knee
from flask_concurrency.cli.tune.server import Server

STEPS: Final = (1, 2, 4, 8, 16, 32)
AT: Final = 0.8
"""Share of the knee's throughput that is offered to see how long clients wait."""
MOST_FAILED: Final = 0.02
"""Share of answers that may be refusals or errors."""


class RouteFailed(Exception):
    """A route answers with errors, or not at all; the message says how."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one route did.

    :ivar path: What was asked for.
    :ivar levels: At rising concurrency.
    :ivar rate: Requests a second that were offered in the end, each at its instant.
    :ivar p50: Seconds from that instant in which half were answered; likewise ``p95``, ``p99``.
    """

    path: str
    levels: tuple[Level, ...]
    rate: float
    p50: float
    p95: float
    p99: float


def measure(
    server: Server, path: str, seconds: float, progress: Callable[[float], object]
) -> Measured:
    """Measure a route.

    :param seconds: How long it may take.
    :param progress: Told the seconds that have gone by.
    :raises RouteFailed: It answers with errors, or not at all.
    """
    each = seconds / (len(STEPS) + 2)
    _check(path, many_at_once(server.port, path, 1, each / 2))  # what is made at first use
    progress(each)
    levels = []
    for number in STEPS:
        before = used(server.session)
        answers = many_at_once(server.port, path, number, each)
        cpu = used(server.session) - before
        _check(path, answers)
        took = answers.seconds
        levels.append(
            Level(number, len(answers.latencies) / took, _typical(answers, number), cpu / took)
        )
        progress(each)
    rate = max(1.0, AT * knee(levels).throughput)
    answers = many_a_second(server.port, path, rate, each)
    progress(each)
    waits = sorted(answers.latencies)
    p50, p95, p99 = (waits[min(len(waits) - 1, int(len(waits) * q))] for q in (0.5, 0.95, 0.99))
    return Measured(path, tuple(levels), rate, p50, p95, p99)


def _typical(answers: Answers, concurrency: int) -> float:
    """Seconds an answer takes: in the mean, or undisturbed where it has the server to itself."""
    if concurrency > 1:
        return fmean(answers.latencies)
    return sorted(answers.latencies)[len(answers.latencies) // 10]


def _check(path: str, answers: Answers) -> None:
    total = len(answers.latencies)
    if not total or answers.refused > MOST_FAILED * total:
        said = ", ".join(
            f"{number} x {status or 'no answer'}" for status, number in answers.statuses.items()
        )
        raise RouteFailed(f"{path} does not answer well enough to be measured: {said}.")
