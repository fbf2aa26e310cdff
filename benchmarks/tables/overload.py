"""Measure what an app still answers in time when more comes than it can do.

Each server and workload first shows its capacity and what a refusal takes it without Flask (closed
loop): from both follows what is possible at a load. Where refusals are most of the work, at ten
times the capacity, the server is also sent that load to refuse all of it without Flask: what of its
processor is left is the most that any app could answer with. Then it is sent 1.5, 3 and 10 times as
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
from benchmarks.other_processes import processor_time
from benchmarks.overload.open_loop import REFUSED, Figures, Phase, capacity, figures, send
from benchmarks.overload.servers import behind_haproxy, behind_nginx, has, serving, serving_by

DEADLINE = 0.5
ADAPTIVE = "adaptive 500ms"
FIXED = (4, 8, 16)
LOADS = (1.5, 3.0, 10.0)
BESIDE = 3.0
"""The load at which others are measured beside it."""

REFUSES_ALL = 10.0
"""The load which a server is also sent to refuse all of it."""

CALM = 0.8
SETTLES = 1.5
"""Seconds at the beginning of an overload that are not counted."""

MOST_OFFERED = 2_200.0
"""Requests a second that the generator can still send on time."""


class Case(NamedTuple):
    """A server and a workload.

    :ivar server: Its name, and how many threads it has.
    :ivar path: The view.
    :ivar clients: As many as load it fully.
    """

    server: str
    path: str
    clients: int


CASES = [
    Case("sync", "/cpu", 2),
    Case("gthread:16", "/cpu", 2),
    Case("gthread:16", "/mix", 16),
    Case("gthread:16", "/pool", 16),
    Case("gthread:64", "/mix", 16),
    Case("gthread:64", "/pool", 16),
    Case("waitress:16", "/mix", 16),
    Case("waitress:16", "/pool", 16),
    Case("granian:16", "/cpu", 4),
    Case("granian:16", "/mix", 16),
    Case("granian:16", "/pool", 16),
    Case("uvicorn", "/cpu", 2),
    Case("uvicorn", "/mix", 16),
    Case("uvicorn", "/pool", 16),
]

POOLED = 0.001
"""Seconds of the interpreter that an answer of ``/pool`` takes beyond what a refusal takes."""


def possible(load: float, able: float, refusal: float, path: str) -> float:
    """The share of its capacity that a server can answer, since refusals take time as well.

    :param load: What comes, in capacities.
    :param able: The capacity, in answers a second.
    :param refusal: Seconds of a processor that the server itself takes to hand a request over and
        refuse it.
    """
    answer = POOLED if path == "/pool" else 1 / able - refusal
    return min(1.0, load, max(0.0, 1 - load * able * refusal) / (answer * able))


def refusal_of(server: str, quick: bool) -> float:
    """Seconds that a server takes for a request that is refused at once, without Flask."""
    with serving(server, app="bare") as port:
        paths = [(1.0, "/")]
        return 1 / capacity(port, paths, clients=16, seconds=0.3 if quick else 2.0)


def chosen(row: str, load: float) -> bool:
    """Whether a cell is to be measured.

    ``OVERLOAD_ONLY=gthread:16/mix,uvicorn/pool@10,@3`` chooses a server and workload, a cell of it,
    and all cells of a load.
    """
    words = [each for each in os.environ.get("OVERLOAD_ONLY", "").split(",") if each]
    return not words or any(
        word in (row, f"@{load:g}", f"{row}@{load:g}") for word in map(str.strip, words)
    )


def measure(quick: bool) -> list[list[str]]:
    """The table."""
    rows = [["", "capacity/s", "load", "nothing", "adaptive", "possible", "p99 ms", "no, ms"]]
    rows[0] += ["best fixed", "nginx", "HAProxy"]
    for case in CASES:
        row = f"{case.server}{case.path}"
        if quick and row != "gthread:16/mix":
            continue
        loads = [load for load in (CALM, *LOADS) if chosen(row, load)]
        if quick:
            loads = [load for load in loads if load in (CALM, BESIDE)]
        if loads:
            rows += _case(case, loads, 0.2 if quick else 3.0, quick)
    return rows


def _case(case: Case, loads: list[float], seconds: float, quick: bool) -> Iterator[list[str]]:
    refusal = refusal_of(case.server, quick)
    with serving(case.server) as port:
        paths = [(1.0, case.path)]
        able = capacity(port, paths, clients=case.clients, seconds=0.3 if quick else 2.0)
    name = f"{case.server} {case.path}"
    told = ""
    if CALM in loads:
        calm = _run(serving(case.server, ADAPTIVE), case, CALM * able, seconds)
        told = f"{100 * calm.refused / max(1.0, calm.offered):.2f} % refused"
    no = f"{1e3 * refusal:.2f} alone"
    yield [name, f"{able:.0f}", f"{CALM}×", "", told, "", "", no, *[""] * 3]
    for load in loads:
        if load == CALM:
            continue
        rate = min(load * able, MOST_OFFERED)
        if rate < load * able * 0.95:
            continue
        ours = _run(serving(case.server, ADAPTIVE), case, rate, seconds)
        beside = _beside(case, rate, seconds, able, quick) if load == BESIDE else [""] * 4
        takes = refusal
        if load == REFUSES_ALL:
            bare, spent = _refuse_all(case.server, rate, seconds)
            takes = min(refusal, spent)
            yield [
                f"{name}, all refused without Flask",
                "",
                f"{load:g}×",
                "",
                f"{rate * spent:.2f} of a core",
                "",
                "",
                f"{_ms(bare.refusal_p50)} / {_ms(bare.refusal_p99)}",
                *[""] * 3,
            ]
        most = possible(load, able, takes, case.path)
        yield [
            name,
            "",
            f"{load:g}×",
            beside[0],
            f"{ours.good / able:.2f}",
            f"{most:.2f}",
            _ms(ours.p99),
            f"{_ms(ours.refusal_p50)} / {_ms(ours.refusal_p99)}",
            *beside[1:],
        ]


def _refuse_all(server: str, rate: float, seconds: float) -> tuple[Figures, float]:
    """What becomes of requests that are all refused without Flask, and what each takes.

    :returns: The figures, and seconds on a processor a request. Those the server spends waiting
        for its clients are not in them.
    """
    with serving_by(server, app="bare") as (port, process):
        before = processor_time(process.pid)
        samples = send(port, [(1.0, "/")], [Phase(rate, seconds + SETTLES)])
        spent = processor_time(process.pid) - before
    answered = sum(each.status in REFUSED for each in samples)
    found = figures(samples, SETTLES, seconds + SETTLES, DEADLINE)
    return found, spent / max(1, answered)


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
