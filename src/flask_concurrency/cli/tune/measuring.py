"""Measure one route at rising concurrency, within a budget of seconds. Advises nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from flask_concurrency.cli.tune.offered_load import TIMEOUT, Answers, many_a_second, many_at_once
from flask_concurrency.cli.tune.processor_time import used
from flask_concurrency.cli.tune.scalability import Level
from flask_concurrency.cli.tune.server import Server

STEPS: Final = (1, 2, 4, 8, 16, 32)
AT: Final = 0.8
"""Share of the throughput at the advised limit that is offered to see how long clients wait."""
MOST_FAILED: Final = 0.02
"""Share of answers that may be refusals or errors."""

Progress = Callable[[float], object]
"""Told the seconds that have gone by."""


class RouteFailed(Exception):
    """A route answers with errors, or not at all; the message says how."""


@dataclass(frozen=True, slots=True)
class Offered:
    """How long clients wait that come when they come.

    :ivar rate: Requests a second that were offered, each at its instant.
    :ivar p50: Seconds from that instant in which half were answered; likewise ``p95``, ``p99``.
    """

    rate: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one route did.

    :ivar path: What was asked for.
    :ivar levels: One process, at rising concurrency.
    :ivar workers: Processes that did ``together``.
    :ivar together: All of them, at the levels that may be advised.
    :ivar offered: The same with requests at their instants.
    """

    path: str
    levels: tuple[Level, ...]
    workers: int
    together: tuple[Level, ...]
    offered: Offered


def measure_one(server: Server, path: str, seconds: float, progress: Progress) -> tuple[Level, ...]:
    """Measure a route on one process.

    :param seconds: How long it may take.
    :raises RouteFailed: It answers with errors, or not at all.
    """
    each = seconds / (len(STEPS) + 0.5)
    timeout = min(TIMEOUT, max(1.0, seconds))  # many at once may take longer than one
    _check(path, many_at_once(server.port, path, 1, each / 2, timeout=timeout))  # first use
    progress(each / 2)
    levels = []
    for number in STEPS:
        levels.append(_level(server, path, number, each, keep=True))
        progress(each)
    return tuple(levels)


def measure_together(
    server: Server, path: str, steps: Sequence[int], seconds: float, progress: Progress
) -> tuple[Level, ...]:
    """Measure a route on several processes, each request on a connection of its own.

    Parameters and errors as of :func:`measure_one`.
    """
    levels = []
    for number in steps:
        each = seconds / len(steps)
        levels.append(_level(server, path, number, each, keep=False))
        progress(each)
    return tuple(levels)


def offer(server: Server, path: str, rate: float, seconds: float, progress: Progress) -> Offered:
    """See how long clients wait at a rate."""
    answers = many_a_second(server.port, path, rate, seconds, keep=False)
    progress(seconds)
    waits = sorted(answers.latencies)
    p50, p95, p99 = (waits[min(len(waits) - 1, int(len(waits) * q))] for q in (0.5, 0.95, 0.99))
    return Offered(rate, p50, p95, p99)


def _level(server: Server, path: str, number: int, seconds: float, *, keep: bool) -> Level:
    before = used(server.session)
    answers = many_at_once(server.port, path, number, seconds, keep=keep)
    after = used(server.session)
    _check(path, answers)
    did, total = answers.throughput, len(answers.latencies)
    held_up = max(0.0, after.held_up - before.held_up) / total
    latency = _typical(answers, number, held_up)
    return Level(number, did, latency, (after.ran - before.ran) / total * did, held_up * did)


def _typical(answers: Answers, concurrency: int, held_up: float) -> float:
    """Seconds an answer takes: in the mean, or undisturbed where it has the server to itself.

    :param held_up: Seconds of it in which other processes ran.
    """
    mean = fmean(answers.latencies)
    if concurrency > 1:
        return mean
    return min(sorted(answers.latencies)[len(answers.latencies) // 10], max(0.0, mean - held_up))


def _check(path: str, answers: Answers) -> None:
    total = len(answers.latencies)
    if not total or answers.refused > MOST_FAILED * total:
        said = ", ".join(
            f"{number} x {status or 'no answer'}" for status, number in answers.statuses.items()
        )
        raise RouteFailed(f"{path} does not answer well enough to be measured: {said}.")
