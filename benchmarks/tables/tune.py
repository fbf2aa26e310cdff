"""Compare what ``flask concurrency tune`` advises with the best that trying everything finds.

Five apps, each held up by one thing that is known (:mod:`benchmarks.bottlenecks`). ``tune`` is run
once for all of them, as a person runs it. Then each app is served with one worker and with one for
each processor, and asked with one, two, three, ... requests in flight, until some more in a row
bring nothing. The best of these settings and the advised one are measured once more, in turn: that
it did most, of so many that were tried, was in part luck. Each time they are compared by
themselves, for what else the machine does changes from one second to another.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from statistics import fmean, median
from typing import Any, NamedTuple

from benchmarks.benchmark import Trial
from benchmarks.bottlenecks import APPS
from flask_concurrency.cli.tune.advice import SPARE
from flask_concurrency.cli.tune.offered_load import many_at_once
from flask_concurrency.cli.tune.processor_time import processors
from flask_concurrency.cli.tune.server import Server, served

LIMITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128)
"""Requests in flight that are tried."""
IN_VAIN = 3
"""Of these in a row that bring no more than the best before, after which none is tried."""
EACH = 1.0
"""Seconds for which one setting is tried."""
ROUNDS = 5
"""Times that the two are measured again, in turn."""
BUDGET = 60
NEAR = 0.9
"""Share of the best that the advised setting must bring."""


class Setting(NamedTuple):
    """How an app is served."""

    workers: int
    threads: int
    in_flight: int

    def __str__(self) -> str:
        return f"{self.workers} x {self.threads}, {self.in_flight}"


class Did(NamedTuple):
    """What it did: answers a second, and seconds of an answer."""

    throughput: float
    latency: float


def compare(quick: bool) -> list[list[str]]:
    """The table."""
    each, rounds = (0.1, 1) if quick else (EACH, ROUNDS)
    limits = LIMITS[:2] if quick else LIMITS
    names = list(APPS)[: 1 if quick else None]
    began_at = time.perf_counter()
    advised = advice(names, 6 if quick else BUDGET)
    took = time.perf_counter() - began_at
    rows = [
        ["", "bound by", "advised", "answers/s", "ms", "best of all", "answers/s", "ms", "of best"]
    ]
    for name in names:
        found = advised[name]
        setting = Setting(found["workers"], found["threads"], found["in_flight"])
        best = best_of(name, limits, each)
        ours, theirs = in_turn(name, setting, best, rounds, each)
        ratios = sorted(o.throughput / t.throughput for o, t in zip(ours, theirs, strict=True))
        ratio, ours_did, theirs_did = median(ratios), _median(ours), _median(theirs)
        print(f"tune: {name} {setting}, {best}: {ratios}", file=sys.stderr, flush=True)
        mark = "" if quick or ratio >= NEAR else " (no)"
        rows.append(
            [
                name,
                found["bound"],
                str(setting),
                f"{ours_did.throughput:.1f}",
                f"{ours_did.latency * 1e3:.1f}",
                str(best),
                f"{theirs_did.throughput:.1f}",
                f"{theirs_did.latency * 1e3:.1f}",
                f"{ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}){mark}",
            ]
        )
    rows.append(["tune itself, five routes", "", f"{took:.0f} s", *[""] * 6])
    return rows


def advice(names: Sequence[str], budget: int) -> Mapping[str, Mapping[str, Any]]:
    """What ``tune`` says of each app, by name."""
    target = f"benchmarks.bottlenecks:make({', '.join(map(repr, names))})"
    command = [sys.executable, "-m", "flask", "--app", target]
    command += ["concurrency", "tune", "--yes", "--json", "--budget", str(budget)]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return {route["path"][1:]: route for route in json.loads(said.stdout)["routes"]}


def best_of(name: str, limits: tuple[int, ...], each: float) -> Setting:
    """The setting of the highest throughput, of all that are tried."""
    found: dict[Setting, float] = {}
    for workers in sorted({1, processors()}):
        with _serving(name, workers, limits[-1] + SPARE) as server:
            best, in_vain = 0.0, 0
            for limit in limits:
                setting = Setting(workers, limit + SPARE, limit)
                found[setting] = _asked(server, name, limit, each).throughput
                in_vain = 0 if found[setting] > best else in_vain + 1
                best = max(best, found[setting])
                if in_vain == IN_VAIN:
                    break
    return max(found, key=lambda setting: found[setting])


def in_turn(
    name: str, ours: Setting, best: Setting, rounds: int, each: float
) -> tuple[list[Did], list[Did]]:
    """Both measured again, one after the other, round by round."""
    did: dict[Setting, list[Did]] = {ours: [], best: []}
    with ExitStack() as stack:
        servers = {
            setting: stack.enter_context(_serving(name, setting.workers, setting.threads))
            for setting in did
        }
        for number in range(rounds):
            for setting in sorted(did, key=str, reverse=bool(number % 2)):
                did[setting].append(_asked(servers[setting], name, setting.in_flight, 2 * each))
    return did[ours], did[best]


def _median(found: list[Did]) -> Did:
    return Did(median(d.throughput for d in found), median(d.latency for d in found))


@contextmanager
def _serving(name: str, workers: int, threads: int) -> Iterator[Server]:
    target = f"benchmarks.bottlenecks:make('{name}')"
    with served(target, workers=workers, threads=threads) as server:
        many_at_once(server.port, f"/{name}", 4 * workers, 0.2, keep=False)  # first use
        yield server


def _asked(server: Server, name: str, number: int, seconds: float) -> Did:
    answers = many_at_once(server.port, f"/{name}", number, seconds, keep=False)
    assert not answers.refused, answers.statuses
    return Did(answers.throughput, fmean(answers.latencies))


TRIALS = (
    Trial(
        "tune",
        "what tune advises beside the best of all settings: workers x threads, in flight",
        compare,
    ),
)
