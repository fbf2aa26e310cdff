"""Measure all routes within a budget of seconds, and have each advised. Prints nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flask_concurrency.cli.tune.advice import SPARE, advise, look, to_try
from flask_concurrency.cli.tune.measuring import (
    AT,
    STEPS,
    Measured,
    Progress,
    RouteFailed,
    measure_one,
    measure_together,
    offer,
)
from flask_concurrency.cli.tune.processor_time import processors, used, used_by_all
from flask_concurrency.cli.tune.report import Tuned
from flask_concurrency.cli.tune.scalability import Level
from flask_concurrency.cli.tune.server import Server, served
from flask_concurrency.vocabulary.clock import monotonic

BY_ONE: Final = 0.55
"""Share of the time in which one process is measured; the rest is for all workers together."""
FOR_THE_REST: Final = 0.07
"""Share of the time that is left for starts, stops and the last answers of each level."""
MOST_THREADS_SERVED: Final = 512
"""Threads of each worker at the most; what is tried is not more for any worker."""
LEAST: Final = 1.0
"""Seconds of each of the two that a route gets, however late the server started."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came out.

    :ivar tuned: Each route that could be measured, with its advice.
    :ivar failed: For each of the others a sentence that says why not.
    :ivar others: Processors that other processes used meanwhile.
    """

    tuned: tuple[Tuned, ...]
    failed: tuple[str, ...]
    others: float


def tune_routes(
    target: str | None, paths: Sequence[str], budget: float, progress: Progress
) -> Found:
    """Measure routes, each by one process first, which tells what holds it, then by all workers.

    :param target: The app, as ``flask --app`` was given it.
    :param budget: Seconds that all of it may take.
    :raises ConfigurationError: The app does not start.
    :raises OSError: This platform does not tell how much processor time a process has used.
    """
    budget *= 1 - FOR_THE_REST
    until = monotonic() + budget
    workers = max(2, processors())  # whether each has a pool of its own is not seen with one
    levels: dict[str, tuple[Level, ...]] = {}
    tuned: list[Tuned] = []
    failed: list[str] = []
    others = _Others()
    with served(target, threads=max(STEPS) + SPARE) as server:
        others.begin(server)
        for number, path in enumerate(paths):
            left = until - (1 - BY_ONE) * budget - monotonic()
            seconds = max(LEAST, left / (len(paths) - number))
            try:
                levels[path] = measure_one(server, path, seconds, progress)
            except RouteFailed as error:
                failed.append(str(error))
        others.end(server)
    if levels:
        most = max(to_try(look(each), workers=workers)[-1] for each in levels.values())
        threads = min(MOST_THREADS_SERVED, most + SPARE)  # of each: any may get all of them
        with served(target, threads=threads, workers=workers) as server:
            others.begin(server)
            for number, (path, each) in enumerate(levels.items()):
                seconds = max(LEAST, (until - monotonic()) / (len(levels) - number))
                try:
                    tuned.append(_together(server, path, each, workers, seconds, progress))
                except RouteFailed as error:
                    failed.append(str(error))
            others.end(server)
    return Found(tuple(tuned), tuple(failed), others.share())


def _together(
    server: Server,
    path: str,
    levels: tuple[Level, ...],
    workers: int,
    seconds: float,
    progress: Progress,
) -> Tuned:
    steps = to_try(look(levels), workers=workers)
    each = seconds / (len(steps) + 1)
    together = measure_together(server, path, steps, each * len(steps), progress)
    advice = advise(levels, together, processors=processors(), workers=workers)
    limit = min(together, key=lambda level: abs(level.concurrency - advice.in_flight))
    offered = offer(server, path, max(1.0, AT * limit.throughput), each, progress)
    return Measured(path, levels, workers, together, offered), advice


class _Others:
    """What processes use that are neither the server nor this one."""

    def __init__(self) -> None:
        self._seconds = self._passed = 0.0
        self._at: tuple[float, float] = (0.0, 0.0)

    def begin(self, server: Server) -> None:
        """Watch from now on."""
        self._at = monotonic(), self._by_others(server)

    def end(self, server: Server) -> None:
        """Watch no more."""
        at, before = self._at
        self._passed += monotonic() - at
        self._seconds += self._by_others(server) - before

    def share(self) -> float:
        """Processors that they used, in the mean."""
        return max(0.0, self._seconds / self._passed) if self._passed else 0.0

    def _by_others(self, server: Server) -> float:
        return used_by_all() - used(server.session).ran - time.process_time()
