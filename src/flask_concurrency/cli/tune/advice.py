"""Say what to set a server and its limits to, from what was measured. Arithmetic and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, Literal

from flask_concurrency.cli.tune.scalability import Level, fit, knee
from flask_concurrency.telemetry.in_words import duration

Bound = Literal["interpreter", "pool", "waiting"]

BUSY: Final = 0.7
"""Share of a processor from which on a process is busy: its interpreter runs one thread."""
LEAST_LEFT: Final = 0.5
"""Share of a processor that others leave at the least: where each wait for one is long beside what
is computed, the ratio of the two says nothing of what could be had."""
QUICK: Final = 0.003
"""Seconds in which an answer is due to the processor alone: no pool is as quick."""
GROWS: Final = 1.5
"""Where the last doubling of concurrency brought so much throughput, it grows still."""
MOST_THREADS: Final = 64
SPARE: Final = 2
"""Threads that stay free to refuse and to answer health checks."""
BY_CHANCE: Final = 12
"""Requests for each worker but one that are tried at the most: of ``w`` workers to which ``n`` come
by chance ``n / (n + w - 1)`` are busy, which is 92 %."""
MOST_TRIED: Final = 512
ALL_BUT: Final = 0.95
"""Share of the highest throughput that the advised limit brings: it is the lowest that does. What
was measured for a second is some 5 % off, and the advised limit should bring nine tenths of it."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one process by itself tells of a route.

    :ivar bound: What holds throughput: the interpreter, a pool of so many places that the requests
        share, or nothing yet but their own waiting.
    :ivar places: Places of that pool; ``None`` where none is.
    :ivar alone: What it did with one request at a time; ``best`` where throughput was highest,
        ``last`` at the highest concurrency.
    :ivar cpu: Processor seconds of an answer.
    :ivar waits: Seconds of an answer that has the server to itself and does not compute.
    """

    bound: Bound
    places: int | None
    alone: Level
    best: Level
    last: Level
    cpu: float
    waits: float

    @property
    def told(self) -> str:
        """What an answer is made of."""
        return (
            f"An answer takes {duration(self.alone.latency)}: {duration(self.cpu)} of the "
            f"processor and {duration(self.waits)} of waiting."
        )

    @property
    def inside(self) -> int:
        """Requests that keep one process as busy as it can be."""
        if self.bound == "interpreter":
            return min(MOST_THREADS, ceil(1 + self.waits / self.cpu)) if self.cpu else 1
        if self.places is not None:
            return self.places
        return max(self.last.concurrency, min(MOST_THREADS, self.fills))

    @property
    def fills(self) -> int:
        """Requests at once that would keep a processor busy, if nothing else held them."""
        return ceil(self.last.latency / self.cpu) if self.cpu else MOST_THREADS


@dataclass(frozen=True, slots=True)
class Advice:
    """What to set, and why.

    :ivar bound: What holds throughput, as in :class:`Look`.
    :ivar places: Places of a pool; of each worker's, where each has one of its own.
    :ivar workers: Processes.
    :ivar threads: Threads of each.
    :ivar in_flight: Requests to let in at once, on the whole host.
    :ivar knee: Concurrency of one process beyond which only waits grow.
    :ivar reasons: A sentence for each.
    """

    bound: Bound
    places: int | None
    workers: int
    threads: int
    in_flight: int
    knee: int
    reasons: tuple[str, ...]


def look(levels: Sequence[Level]) -> Look:
    """Tell what holds one process.

    :param levels: What it did at three levels of concurrency or more.
    """
    ordered = sorted(levels, key=lambda level: level.concurrency)
    alone, last = ordered[0], ordered[-1]
    best = max(ordered, key=lambda level: level.throughput)
    cpu = sum(level.cpu for level in ordered) / sum(level.throughput for level in ordered)
    waits = max(0.0, alone.latency - cpu)
    # Beside other busy processes one is busy with the share of a processor that they leave it.
    to_be_had = cpu / (cpu + alone.held_up / alone.throughput) if cpu else 1.0
    to_be_had = max(LEAST_LEFT, to_be_had)
    if best.cpu >= BUSY * to_be_had or alone.latency <= QUICK or waits <= cpu / 2:
        return Look("interpreter", None, alone, best, last, cpu, waits)
    if last.throughput >= GROWS * ordered[-2].throughput and last.concurrency > 1:
        return Look("waiting", None, alone, best, last, cpu, waits)
    # Little's law: so many are served at once while the rest queue for one of them to leave.
    places = max(1, round(best.throughput * alone.latency))
    return Look("pool", places, alone, best, last, cpu, waits)


def to_try(seen: Look, *, workers: int) -> tuple[int, ...]:
    """The limits that are worth a measurement with all workers, the lowest first.

    Requests do not come to workers in turn: a limit of as many as keep all of them busy leaves one
    idle at times, while another has one too many. How many more are needed is measured; the highest
    one shows what there is to be had.
    """
    together = seen.inside * workers
    if seen.bound == "interpreter":
        highest = max(3 * together, min(MOST_TRIED, BY_CHANCE * (workers - 1) * seen.inside))
        found = {together, ceil(1.5 * together), 2 * together, 3 * together, highest}
    elif seen.bound == "pool":
        found = {seen.inside, together, ceil(1.5 * together), 2 * together, 4 * together}
    else:
        found = {seen.inside, ceil(together / 2), together}
    return tuple(sorted(found))


def advise(
    levels: Sequence[Level],
    together: Sequence[Level] = (),
    *,
    processors: int,
    workers: int | None = None,
) -> Advice:
    """Advise for one route.

    :param levels: What one process did at three levels of concurrency or more.
    :param together: What several did at the levels of :func:`to_try`. Without it, each is taken to
        bring as much again, except before a pool, which they are taken to share.
    :param processors: Those that the server may use.
    :param workers: How many processes did ``together``.
    """
    seen = look(levels)
    own = seen.bound != "pool" or _has_one_each(seen, together, workers)
    if not own:
        several = 1 if seen.places == 1 else min(processors, seen.inside)
    else:
        several = workers if seen.bound == "pool" and workers else processors
    if together and (several == workers or not own):
        enough = knee(together, near=ALL_BUT).concurrency
    else:
        enough = seen.inside * (several if own else 1)
    reasons = {"interpreter": _computing, "pool": _pooled, "waiting": _waiting}[seen.bound]
    return Advice(
        seen.bound,
        seen.places,
        several,
        ceil(enough / several) + SPARE,
        enough,
        knee(levels).concurrency,
        (seen.told, *reasons(seen, levels, several, own), *_tried(together, workers, enough)),
    )


def _has_one_each(seen: Look, together: Sequence[Level], workers: int | None) -> bool:
    """Whether each worker has a pool of its own, and does not share one with the others."""
    if not together or workers is None:
        return False
    most = max(level.throughput for level in together)
    return most >= (1 + (workers - 1) / 2) * seen.best.throughput


def _computing(seen: Look, levels: Sequence[Level], several: int, own: bool) -> tuple[str, ...]:
    return (
        f"One process does {seen.best.throughput:.3g} answers a second and uses "
        f"{seen.best.cpu:.0%} of a processor: its interpreter runs one thread at a time.",
        f"{several} workers, one for each processor.",
        f"{seen.inside} in flight for each keep it busy while others wait "
        f"(1 + {duration(seen.waits)} / {duration(seen.cpu)}).",
    )


def _pooled(seen: Look, levels: Sequence[Level], several: int, own: bool) -> tuple[str, ...]:
    word = (
        "one at a time: a lock, or a pool of one" if seen.places == 1 else f"{seen.places} at once"
    )
    whose = (
        "Each worker has one of its own: more workers let more in."
        if own
        else "The workers share it: more of them let no more in."
    )
    return (
        f"Throughput stays at {seen.best.throughput:.3g} a second while the processor is idle "
        f"({seen.best.cpu:.0%}): something lets {word} in "
        f"({seen.best.throughput:.3g} a second x {duration(seen.alone.latency)}).",
        f"{whose} The part that queues is {min(1.0, fit(levels).queueing):.0%}.",
        "If the pool is yours, make it larger and measure again.",
    )


def _waiting(seen: Look, levels: Sequence[Level], several: int, own: bool) -> tuple[str, ...]:
    return (
        f"Throughput still grows at {seen.last.concurrency} in flight "
        f"({seen.last.throughput:.3g} a second): requests wait for something that has room.",
        f"A processor would be busy at {seen.fills} in flight.",
        "An async view waits without a thread: on ASGI any number at once.",
    )


def _tried(together: Sequence[Level], workers: int | None, enough: int) -> tuple[str, ...]:
    spare = f"{SPARE} threads of each worker are left to refuse and to answer health checks."
    if not together:
        return (spare,)
    said = ", ".join(
        f"{level.throughput:.3g} with {level.concurrency}"
        for level in sorted(together, key=lambda level: level.concurrency)
    )
    return (
        f"{workers} workers did so many answers a second with so many in flight: {said}. More than "
        f"{enough} only wait for each other.",
        spare,
    )
