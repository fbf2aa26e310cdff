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
QUICK: Final = 0.003
"""Seconds in which an answer is due to the processor alone: no pool is as quick."""
GROWS: Final = 1.5
"""Where the last doubling of concurrency brought so much throughput, it grows still."""
MOST_THREADS: Final = 64
SPARE: Final = 2
"""Threads that stay free to refuse and to answer health checks."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to set, and why.

    :ivar bound: What holds throughput: the interpreter, a pool of so many places that the requests
        share, or nothing yet but their own waiting.
    :ivar places: Places of that pool; ``None`` where none is.
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


def advise(levels: Sequence[Level], *, processors: int) -> Advice:
    """Advise for one route.

    :param levels: What one process did at three levels of concurrency or more.
    :param processors: Those that the server may use.
    """
    ordered = sorted(levels, key=lambda level: level.concurrency)
    alone, last = ordered[0], ordered[-1]
    at = knee(ordered)
    best = max(ordered, key=lambda level: level.throughput)
    cpu = sum(level.cpu for level in ordered) / sum(level.throughput for level in ordered)
    waits = max(0.0, alone.latency - cpu)
    told = (
        f"An answer takes {duration(alone.latency)}: {duration(cpu)} of the processor and "
        f"{duration(waits)} of waiting."
    )
    if best.cpu >= BUSY or alone.latency <= QUICK or waits <= cpu / 2:
        return _interpreter(told, at, cpu, waits, processors, best)
    if last.throughput >= GROWS * ordered[-2].throughput and last.concurrency > 1:
        return _waiting(told, ordered, cpu, processors)
    return _pool(told, ordered, alone, processors, best)


def _interpreter(
    told: str, at: Level, cpu: float, waits: float, processors: int, best: Level
) -> Advice:
    overlap = 1 + waits / cpu if cpu else 1.0
    threads = max(1 + SPARE, min(MOST_THREADS, ceil(overlap) + SPARE))
    inside = max(1, ceil(overlap))
    return Advice(
        "interpreter",
        None,
        processors,
        threads,
        inside * processors,
        at.concurrency,
        (
            told,
            f"One process does {best.throughput:.3g} answers a second and uses {best.cpu:.0%} of a "
            "processor: its interpreter runs one thread at a time.",
            f"{processors} workers, one for each processor: each brings as much again.",
            f"{inside} in flight for each worker keep it busy while others wait "
            f"(1 + {duration(waits)} / {duration(cpu)}); {SPARE} more threads refuse and answer "
            "health checks.",
        ),
    )


def _pool(told: str, levels: Sequence[Level], alone: Level, processors: int, best: Level) -> Advice:
    # Little's law: so many are served at once while the rest queue for one of them to leave.
    places = max(1, round(best.throughput * alone.latency))
    word = "one at a time: a lock, or a pool of one" if places == 1 else f"{places} at once"
    scalability = fit(levels)
    return Advice(
        "pool",
        places,
        1 if places == 1 else min(processors, places),
        max(1, ceil(places / min(processors, places))) + SPARE,
        places,
        places,
        (
            told,
            f"Throughput stays at {best.throughput:.3g} a second while the processor is idle "
            f"({best.cpu:.0%}): something lets {word} in "
            f"({best.throughput:.3g} a second x {duration(alone.latency)}).",
            f"More than {places} in flight wait for it and make each other late; the part that "
            f"queues is {min(1.0, scalability.queueing):.0%}.",
            "If the pool is yours, make it larger and measure again; if each worker has one of its "
            "own, the limit may be so many times as large.",
        ),
    )


def _waiting(told: str, levels: Sequence[Level], cpu: float, processors: int) -> Advice:
    last = levels[-1]
    fills = ceil(last.latency / cpu) if cpu else MOST_THREADS
    threads = max(last.concurrency, min(MOST_THREADS, fills))
    return Advice(
        "waiting",
        None,
        processors,
        threads + SPARE,
        threads * processors,
        last.concurrency,
        (
            told,
            f"Throughput still grows at {last.concurrency} in flight "
            f"({last.throughput:.3g} a second): requests wait for something that has room.",
            f"{threads} threads for each worker; a processor would be busy at {fills}.",
            "An async view waits without a thread: on ASGI any number at once.",
        ),
    )
