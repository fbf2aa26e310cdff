"""Measure the demo's small app at the demo's load: ``"adaptive"`` beside every number of requests.

Who picks a number by hand tries some under a load like this one, and takes the best.
"""

from __future__ import annotations

from examples.demo.overloaded import CAPACITY

from benchmarks.benchmark import Trial
from benchmarks.overload.open_loop import Figures, Phase, figures, send
from benchmarks.overload.servers import serving
from benchmarks.tables.overload import ADAPTIVE, DEADLINE, SETTLES

TIMES = 3
"""The load that the demo's slider shows first, in capacities."""

SERVERS = ("gthread:16", "granian:16")

NUMBERS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Requests in flight; there are 16 threads."""

LEAST = 0.9
"""Share of the best number's answers in time that is asked for."""


def measure(quick: bool) -> list[list[str]]:
    """The table."""
    seconds, rounds = (0.3, 1) if quick else (5.0, 2)
    numbers = NUMBERS[3:4] if quick else NUMBERS
    limits = ["", ADAPTIVE, *(f"{number} in flight" for number in numbers)]
    rows = [["", "nothing", "adaptive", "best number", "of best", "all numbers"]]
    for server in SERVERS[:1] if quick else SERVERS:
        good = dict.fromkeys(limits, 0.0)
        for _ in range(rounds):
            for limit in limits:
                good[limit] += _answered(server, limit, seconds).good / rounds / CAPACITY
        best = max(limits[2:], key=lambda limit: good[limit])
        share = good[ADAPTIVE] / good[best] if good[best] else 0.0
        rows.append(
            [
                f"{server}, {TIMES}× of {CAPACITY:g}/s",
                f"{good['']:.2f}",
                f"{good[ADAPTIVE]:.2f}",
                f"{good[best]:.2f} ({best.split()[0]})",
                f"{share:.2f}" if share >= LEAST else f"{share:.2f} (no)",
                " ".join(f"{good[limit]:.2f}" for limit in limits[2:]),
            ]
        )
    return rows


def _answered(server: str, limit: str, seconds: float) -> Figures:
    with serving(server, limit, app="demo") as port:
        samples = send(port, [(1.0, "/work")], [Phase(TIMES * CAPACITY, seconds + SETTLES)])
    return figures(samples, SETTLES, seconds + SETTLES, DEADLINE)


TRIALS = (Trial("overload-demo", "the demo's app at its load, beside the best number", measure),)
"""What the command runs."""
