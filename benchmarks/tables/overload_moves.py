"""Measure what an adaptive limit does while the load or the app changes, and for whom.

Each case measures its capacity first (closed loop), in the same minute; loads are told in
capacities, and latency counts from the scheduled instant.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection

from benchmarks.benchmark import Trial
from benchmarks.overload.open_loop import REFUSED, Phase, Sample, capacity, send
from benchmarks.overload.servers import serving, serving_by
from benchmarks.tables.overload import ADAPTIVE, DEADLINE

Paths = Sequence[tuple[float, str]]

CALM = 0.8
STEP = 5.0
KEYS = 50
RECOVERED = 0.9
"""Share of what is offered that is answered in time once an overload is over."""

FAST_AND_SLOW: Paths = ((0.9, "/fast"), (0.1, "/slow"))


def able(server: str, paths: Paths, clients: int, quick: bool) -> float:
    """Answers a second of the server alone."""
    with serving(server) as port:
        return capacity(port, paths, clients=clients, seconds=0.3 if quick else 3.0)


def calm(quick: bool) -> list[list[str]]:
    """Requests that are refused although all could be answered."""
    rows = [["", "capacity/s", "load", "requests", "refused", "late"]]
    seconds = 0.2 if quick else 10.0
    for server, path, clients in (
        ("sync", "/cpu", 2),
        ("gthread:16", "/cpu", 2),
        ("gthread:16", "/mix", 16),
        ("granian:16", "/mix", 16),
        ("uvicorn", "/mix", 16),
        ("uvicorn", "/pool", 16),
    )[: 1 if quick else None]:
        paths = ((1.0, path),)
        most = able(server, paths, clients, quick)
        for load in (CALM,) if quick else (0.7, CALM, 0.9):
            found = _send(server, paths, [Phase(load * most, 1.0 + seconds)])
            rows.append(_calm_row(f"{server} {path}", most, f"{load}×", found, 1.0))
    for server, clients, load in () if quick else (("gthread:64", 16, 0.75), ("uvicorn", 16, CALM)):
        most = able(server, FAST_AND_SLOW, 3 * clients, quick)
        found = _send(server, FAST_AND_SLOW, [Phase(load * most, 1.0 + seconds)])
        rows.append(_calm_row(f"{server}, one of ten takes 1 s", most, f"{load}×", found, 1.0))
        mix = ((1.0, "/mix"),)
        most = able(server, mix, clients, quick)
        for name, more, lasts, at in (
            ("a dependency 300 ms slower", 0.3, seconds, load),
            ("for 3 s", 0.3, 3.0, load),
            ("a dependency 600 ms slower, for 3 s", 0.6, 3.0, min(load, 0.45 * 64 / 45)),
        ):
            slow = ((1.0, f"/mix?slower={more}"),)
            phases = [Phase(at * most, 3.0), Phase(at * most, lasts, slow), Phase(at * most, 2.0)]
            found = [each for each in _send(server, mix, phases) if 3 <= each.at < 3 + lasts]
            rows.append(_calm_row(f"{server} /mix, {name}", most, f"{at:g}×", found, 0.0))
    return rows


def _calm_row(
    name: str, most: float, load: str, found: Sequence[Sample], begin: float
) -> list[str]:
    seen = [each for each in found if each.at >= begin]
    refused = sum(each.status in REFUSED for each in seen)
    late = sum(each.status == 200 and each.took > DEADLINE for each in seen)
    share = f"{100 * refused / len(seen):.2f} %"
    return [name, f"{most:.0f}", load, str(len(seen)), share, f"{100 * late / len(seen):.1f} %"]


def step(quick: bool) -> list[list[str]]:
    """Three seconds of five times as much, or of three times with clients that ask again."""
    rows = [["", "capacity/s", "in each half second, of capacity", "after it", "unanswered"]]
    first, lasts, rest = (0.2, 0.5, 0.5) if quick else (2.0, 3.0, 2.0)
    for server, path, clients in (
        ("uvicorn", "/pool", 16),
        ("uvicorn", "/mix", 16),
        ("gthread:16", "/mix", 16),
        ("granian:16", "/mix", 16),
        ("waitress:16", "/mix", 16),
        ("sync", "/cpu", 2),
    )[: 1 if quick else None]:
        paths = ((1.0, path),)
        most = able(server, paths, clients, quick)
        for name, load, retries, keep_alive in (
            ("", STEP, 0, False),
            (", three retries", 3.0, 3, False),
            (", connections kept", 3.0, 0, True),
        )[: 1 if quick else None]:
            if keep_alive and server == "sync":
                continue  # its connections are never kept
            phases = [
                Phase(CALM * most, first),
                Phase(load * most, lasts),
                Phase(CALM * most, rest),
            ]
            with serving(server, ADAPTIVE) as port:
                found = send(port, paths, phases, retries=retries, keep_alive=keep_alive)
            good = _halves(found, first, first + lasts + rest)
            during = [each / most for each in good[: round(2 * lasts)]]
            after = [each / most for each in good[round(2 * lasts) :]]
            rows.append(
                [
                    f"{server} {path}, {load:g}×{name}",
                    f"{most:.0f}",
                    " ".join(f"{each:.2f}" for each in during),
                    " ".join(f"{each:.2f}" for each in after),
                    str(sum(each.status not in (200, *REFUSED) for each in found)),
                ]
            )
    return rows


def _halves(found: Sequence[Sample], begin: float, end: float) -> list[float]:
    """Answers in time, a second, of those scheduled in each half second."""
    counts = Counter(
        int((each.at - begin) / 0.5)
        for each in found
        if each.at >= begin and each.status == 200 and each.took <= DEADLINE
    )
    return [counts[half] / 0.5 for half in range(round((end - begin) / 0.5))]


def priorities(quick: bool) -> list[list[str]]:
    """Critical requests of three quarters of the capacity among five times as much; one greedy
    client among fifty."""
    rows = [["", "capacity/s", "critical, in time", "others/s", "Jain's index of 50 clients"]]
    warm, seconds = (0.2, 0.5) if quick else (2.0, 10.0)
    for server, path, clients in (
        ("granian:16", "/mix", 16),
        ("granian:16", "/pool", 16),
        ("uvicorn", "/mix", 16),
        ("uvicorn", "/pool", 16),
        ("gthread:16", "/pool", 16),
        ("gthread:16", "/mix", 16),
    )[: 1 if quick else None]:
        most = able(server, ((1.0, path),), clients, quick)
        shares = ((0.15, f"/critical{path}"), (0.85, path))
        phases = [Phase(0.5 * most, warm), Phase(STEP * most, 1.0 + seconds)]
        seen = [each for each in _send(server, shares, phases) if each.at >= warm + 1.0]
        critical = [each for each in seen if each.path.startswith("/critical")]
        others = len([each for each in seen if _good(each)]) - sum(map(_good, critical))
        rows.append(
            [
                f"{server} {path}",
                f"{most:.0f}",
                f"{100 * sum(map(_good, critical)) / len(critical):.1f} %",
                f"{others / seconds:.0f}",
                f"{_fairness(server, path, most, warm, seconds):.3f}",
            ]
        )
    return rows


def _fairness(server: str, path: str, most: float, warm: float, seconds: float) -> float:
    """Three times the capacity, half of it from one client, the rest from 49."""
    keys = [(1 / (2 * (KEYS - 1)), f"{path}?key={key}") for key in range(1, KEYS)]
    paths = [(0.5, f"{path}?key=0"), *keys]
    with serving(server, ADAPTIVE, by_key=True) as port:
        phases = [Phase(0.5 * most, warm), Phase(3.0 * most, 1.0 + seconds)]
        found = [each for each in send(port, paths, phases) if each.at >= warm + 1.0]
    good = Counter(each.path for each in found if _good(each))
    numbers = [good[name] for _, name in paths]
    return sum(numbers) ** 2 / (len(numbers) * sum(each**2 for each in numbers))


def workers(quick: bool) -> list[list[str]]:
    """Health checks, and what is left inside, while workers die, stop and are replaced at 3×."""
    rows = [["", "good, of capacity", "unanswered", "health checks", "p99 ms", "worst ms"]]
    seconds = 2.0 if quick else 8.0
    for server, path, clients, does in (
        ("gthread:16", "/mix", 16, ("nothing", "killed", "stopped for 1 s", "reload")),
        ("gthread+preload:16", "/mix", 16, ("replaced",)),
        ("granian:16", "/mix", 16, ("nothing",)),
        ("uvicorn", "/mix", 16, ("nothing",)),
    )[: 1 if quick else None]:
        number = 2 if server.startswith("gthread") else 1
        with serving(server, workers=number) as port:
            most = capacity(port, ((1.0, path),), clients=clients * number, seconds=seconds / 2)
        for what in does[:2] if quick else does:
            with serving_by(server, ADAPTIVE, workers=number) as (port, process):
                checks = _HealthChecks(port)
                happens = threading.Timer(seconds / 2, _do, (what, process.pid))
                with checks:
                    happens.start()
                    found = send(port, ((1.0, path),), [Phase(3.0 * most, seconds)])
                happens.join()
            seen = [each for each in found if each.at >= 1.0]
            rows.append(
                [
                    f"{server} {path}, {number} worker(s): {what}",
                    f"{sum(map(_good, seen)) / (seconds - 1.0) / most:.2f}",
                    str(sum(each.status not in (200, *REFUSED) for each in seen)),
                    f"{len(checks.took)}, {checks.failed} failed",
                    f"{1e3 * sorted(checks.took)[int(0.99 * len(checks.took))]:.0f}",
                    f"{1e3 * max(checks.took):.0f}",
                ]
            )
    return rows


def _do(what: str, server: int) -> None:
    """Let something happen to a worker of a server."""
    worker = _children(server)[0] if what in ("killed", "stopped for 1 s") else server
    with suppress(ProcessLookupError):
        if what == "killed":
            os.kill(worker, signal.SIGKILL)
        elif what == "stopped for 1 s":
            os.kill(worker, signal.SIGSTOP)
            time.sleep(1.0)
            os.kill(worker, signal.SIGCONT)
        elif what == "reload":
            os.kill(server, signal.SIGHUP)
        elif what == "replaced":
            _replace(server)


def _replace(server: int) -> None:
    """Start gunicorn anew beside the old one, and end that when the new one has workers."""
    workers = set(_children(server))
    os.kill(server, signal.SIGUSR2)
    give_up_at = time.monotonic() + 20
    while time.monotonic() < give_up_at:
        successor = [each for each in _children(server) if each not in workers]
        if successor and _children(successor[0]):
            break
        time.sleep(0.05)
    os.kill(server, signal.SIGTERM)


def _children(process: int) -> list[int]:
    with open(f"/proc/{process}/task/{process}/children") as file:
        return [int(each) for each in file.read().split()]


class _HealthChecks:
    """Ask for ``/livez`` every 20 ms, from another thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.took: list[float] = []
        self.failed = 0

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(0.02):
            begun_at = time.perf_counter()
            connection = HTTPConnection("127.0.0.1", self._port, timeout=5.0)
            try:
                connection.request("GET", "/livez", headers={"Connection": "close"})
                self.failed += connection.getresponse().status != 200
            except OSError:
                self.failed += 1
            finally:
                connection.close()
            self.took.append(time.perf_counter() - begun_at)


def _send(server: str, paths: Paths, phases: Sequence[Phase]) -> list[Sample]:
    with serving(server, ADAPTIVE) as port:
        return send(port, paths, phases)


def _good(each: Sample) -> bool:
    return each.status == 200 and each.took <= DEADLINE


TRIALS = (
    Trial("overload-calm", "requests refused though all can be answered", calm),
    Trial("overload-step", "good answers in each half second of a step, in capacities", step),
    Trial("overload-priorities", "critical requests at 5×, and fair shares at 3×", priorities),
    Trial("overload-workers", "health checks at 3× while workers die, stop and reload", workers),
)
"""What the command runs."""
