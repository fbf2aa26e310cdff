"""Measure what an app still answers in time when more comes than it can do.

Each server and workload first shows its capacity (closed loop), then is sent 1.5, 3 and 10 times as
much (open loop, latency from the scheduled instant) with the adaptive limit; three times as much
also with nothing before it, with the best of three fixed limits, and behind the proxies that are
installed. All of a case is measured one after the other, so it shares what else the machine does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

from benchmarks.benchmark import Trial
from benchmarks.overload.open_loop import Figures, Phase, capacity, figures, send
from benchmarks.overload.servers import behind_haproxy, behind_nginx, has, serving

DEADLINE = 0.5
ADAPTIVE = "adaptive 500ms"
FIXED = (4, 8, 16)
LOADS = (1.5, 3.0, 10.0)
BESIDE = 3.0
"""The load at which others are measured beside it."""

CALM = 0.8
SETTLES = 1.5
"""Seconds at the beginning of an overload that are not counted."""

MOST_OFFERED = 2_200.0
"""Requests a second that the generator can still send on time."""


class Case(NamedTuple):
    """A server and a workload.

    :ivar refusal: Seconds of CPU that a refusal costs there, measured: it bounds what is possible.
    :ivar scarce: Seconds of CPU that an answer takes; 0 where a pool is what is scarce.
    """

    server: str
    path: str
    clients: int
    refusal: float
    scarce: float


CASES = [
    Case("sync", "/cpu", 2, 0.00017, 0.005),
    Case("gthread:16", "/cpu", 2, 0.00037, 0.005),
    Case("gthread:16", "/mix", 16, 0.00037, 0.005),
    Case("gthread:16", "/pool", 16, 0.00037, 0.0),
    Case("gthread:64", "/mix", 16, 0.00037, 0.005),
    Case("gthread:64", "/pool", 16, 0.00037, 0.0),
    Case("waitress:16", "/mix", 16, 0.00019, 0.005),
    Case("waitress:16", "/pool", 16, 0.00019, 0.0),
    Case("granian:16", "/cpu", 4, 0.00004, 0.005),
    Case("granian:16", "/mix", 16, 0.00004, 0.005),
    Case("granian:16", "/pool", 16, 0.00004, 0.0),
    Case("uvicorn", "/cpu", 2, 0.00007, 0.005),
    Case("uvicorn", "/mix", 16, 0.00007, 0.005),
    Case("uvicorn", "/pool", 16, 0.00007, 0.0),
]


def possible(load: float, case: Case) -> float:
    """The share of its capacity that a server can answer, since refusals take time as well."""
    if not case.scarce:
        return min(1.0, load)
    return max(0.0, (1 - load * case.refusal / case.scarce) / (1 - case.refusal / case.scarce))


def measure(quick: bool) -> list[list[str]]:
    """The table; ``OVERLOAD_ONLY=gthread:16/mix,uvicorn/pool`` chooses rows."""
    rows = [["", "capacity/s", "load", "nothing", "adaptive", "of possible", "p99 ms", "no, ms"]]
    rows[0] += ["best fixed", "nginx", "HAProxy"]
    chosen = [each for each in os.environ.get("OVERLOAD_ONLY", "").split(",") if each]
    for case in CASES:
        name = f"{case.server}{case.path}"
        if (quick and name != "gthread:16/mix") or (chosen and name not in chosen):
            continue
        rows += _case(case, 1.0 if quick else 3.0, quick)
    return rows


def _case(case: Case, seconds: float, quick: bool) -> Iterator[list[str]]:
    with serving(case.server) as port:
        able = capacity(port, case.path, clients=case.clients, seconds=max(2.0, seconds / 2))
    name = f"{case.server} {case.path}"
    calm = _run(serving(case.server, ADAPTIVE), case, CALM * able, seconds)
    refused = 100 * calm.refused / max(1.0, calm.offered)
    yield [name, f"{able:.0f}", f"{CALM}×", "", f"{refused:.2f} % refused", *[""] * 6]
    for load in LOADS[1:2] if quick else LOADS:
        rate = min(load * able, MOST_OFFERED)
        if rate < load * able * 0.95:
            continue
        ours = _run(serving(case.server, ADAPTIVE), case, rate, seconds)
        beside = _beside(case, rate, seconds, able, quick) if load == BESIDE else [""] * 4
        yield [
            name,
            "",
            f"{load:g}×",
            beside[0],
            f"{ours.good / able:.2f}",
            f"{100 * ours.good / able / possible(load, case):.0f} %",
            _ms(ours.p99),
            f"{_ms(ours.refusal_p50)} / {_ms(ours.refusal_p99)}",
            *beside[1:],
        ]


def _beside(case: Case, rate: float, seconds: float, able: float, quick: bool) -> list[str]:
    """What others answer of the same load: nothing before the app, a number, two proxies."""
    nothing = _run(serving(case.server), case, rate, seconds)
    fixed = [
        (_run(serving(case.server, f"{most} in flight"), case, rate, seconds).good, most)
        for most in (FIXED[1:2] if quick else FIXED)
    ]
    best, most = max(fixed)
    told = [f"{nothing.good / able:.2f}", f"{best / able:.2f} ({most})"]
    for program, server in (
        ("nginx", behind_nginx(case.server, most)),
        ("haproxy", behind_haproxy(case.server, most, DEADLINE / 2)),
    ):
        good = _run(server, case, rate, seconds).good if has(program) else None
        told.append("" if good is None else f"{good / able:.2f}")
    return told


def _run(server: AbstractContextManager[int], case: Case, rate: float, seconds: float) -> Figures:
    with server as port:
        samples = send(port, [(1.0, case.path)], [Phase(rate, seconds + SETTLES)])
    return figures(samples, SETTLES, seconds + SETTLES, DEADLINE)


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e3 * seconds:.0f}"


TRIALS = (
    Trial("overload", "Answers in time under overload, in capacities (deadline 0.5 s)", measure),
)
"""What the command runs."""
