"""Say what one comparison found, and time two ways fairly. Knows no Flask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

ROUNDS = 25


@dataclass(frozen=True)
class Figure:
    """The tutorial's way and ours, side by side.

    :ivar what: What both were asked to do.
    :ivar theirs: What came of it the tutorial's way.
    :ivar ours: What came of it with Flask-Concurrency.
    :ivar timed: Whether it is a time, which differs from run to run.
    """

    what: str
    theirs: str
    ours: str
    timed: bool = False

    def __str__(self) -> str:
        rows = {"the tutorial": self.theirs, "Flask-Concurrency": self.ours}
        return "\n".join([self.what, *(f"    {who:<18} {said}" for who, said in rows.items()), ""])


def times_longer(
    theirs: Callable[[], object], ours: Callable[[], object], *, rounds: int = ROUNDS
) -> float:
    """How many times longer theirs takes: the ratio of the medians.

    Both run in turns, so a busy machine slows them alike.
    """
    ours()  # start what is started once, such as a pool
    theirs()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for way, taken in zip((theirs, ours), seconds, strict=True):
            started_at = perf_counter()
            way()
            taken.append(perf_counter() - started_at)
    return median(seconds[0]) / median(seconds[1])
