"""Put together what the page shows. Knows counters, history and snapshots; knows no HTTP."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import asdict
from typing import Any, Final

from flask import Flask

from flask_concurrency.engine.snapshot import LimiterSnapshot, look
from flask_concurrency.flask_app.app_snapshot import JobsSnapshot, read_jobs
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.dashboard.sampling import (
    COLUMNS,
    Sampler,
    guards_of,
    processes_of,
)
from flask_concurrency.stores.fallback import FallbackStore
from flask_concurrency.telemetry.history import SECONDS, Row
from flask_concurrency.telemetry.in_words import Facts, JobFacts, summary
from flask_concurrency.telemetry.load import (
    JobLoad,
    LimitLoad,
    Load,
    RouteLoad,
    difference,
    jobs_of,
    limits_of,
    mean_wait,
    routes_of,
)
from flask_concurrency.telemetry.metrics import JOB_EVENTS
from flask_concurrency.telemetry.names import Totals
from flask_concurrency.vocabulary.clock import Clock, wall
from flask_concurrency.vocabulary.errors import StoreError

READABLE: Final = 0.1
"""Seconds after a full second within which its row of history is written."""
BASE_EVERY: Final = 10.0
"""Seconds between two readings that later ones are compared with."""
LATELY: Final = 60.0
"""Seconds that "lately" covers, at the least."""
WORDS: Final = 5
"""Seconds that the sentence on top speaks of."""
JOBS_AGAIN: Final = 10.0
"""Seconds for which jobs that cannot be read are not asked for again: that may take seconds."""
ROWS: Final = 20
"""Rows of a table; what is beyond is of no help at three in the morning."""


class View:
    """What the page shows of one app, put together once a second however many watch.

    :param app: The app.
    :param state: What it owns.
    :param sampler: Writes its history.
    :param prefix: Routes that begin so only watch.
    :param clock: Seconds since 1970.
    """

    def __init__(
        self, app: Flask, state: AppState, sampler: Sampler, prefix: str, *, clock: Clock = wall
    ) -> None:
        self._app = app
        self._state = state
        self._sampler = sampler
        self._prefix = prefix
        self._clock = clock
        self._lock = threading.Lock()
        self._shown: dict[str, Any] = {}
        self._shown_row: int | None = None
        self._bases: deque[tuple[float, Totals]] = deque()
        self._jobs_lost_until = 0.0
        sampler.on_second = self._keep_base

    def until_next(self) -> float:
        """Seconds until there is something new to show: a full second's row can be read then.

        What has come within a second is so seen a tenth of a second after its end, wherever in
        that second a page began to watch.
        """
        return 1.0 - (self._clock() - READABLE) % 1.0

    def now(self, after: int) -> dict[str, Any]:
        """What to show now, and the rows of history after a second.

        It is put together once for each row, however many watch.
        """
        with self._lock:
            now = self._clock()
            row = int(now - READABLE)
            if row != self._shown_row or self._app.testing:
                if self._app.testing:
                    self._sampler.sample()
                self._shown, self._shown_row = self._look(now), row
            shown = self._shown
        after = max(after, int(now) - SECONDS)
        rows = self._sampler.history.rows(after=after, until=int(now))
        return {**shown, "rows": [_short(row) for row in rows]}

    def _look(self, now: float) -> dict[str, Any]:
        totals = self._state.counters.get().totals()
        base_at, base = self._base(now, totals)
        changes = difference(base, totals)
        try:
            found = look(self._state.limiters(self._app), self._state.store, key=None)
        except StoreError:
            found = []
        processes = processes_of(self._app, self._state)
        decided = limits_of(changes)
        cap, age, lag = guards_of(processes)
        store = self._state.store
        lost = isinstance(store, FallbackStore) and store.snapshot().out_for is not None
        jobs, of_jobs = self._jobs(now), jobs_of(changes)
        recent = self._sampler.history.rows(after=int(now) - WORDS - 1, until=int(now))
        facts = Facts(
            load=_load(recent),
            seconds=max(1, len(recent)),
            limits=decided,
            waiting=sum(each.waiting for each in found),
            wait=mean_wait(changes),
            cap=None if cap < 0 else int(cap),
            age=age,
            lag=lag,
            store_lost=lost,
            jobs=None if jobs is None else _job_facts(jobs, of_jobs),
        )
        level, words = summary(facts)
        return {
            "app": self._app.name,
            "at": round(now, 3),
            "columns": COLUMNS,
            "level": level,
            "words": words,
            "lately": round(now - base_at) if base_at else None,
            "limits": self._limits(found, decided)[:ROWS],
            "routes": [_route(each) for each in routes_of(changes, without=self._prefix)[:ROWS]],
            "refused": _refused(processes)[:ROWS],
            "executors": _executors(processes),
            "jobs": None if jobs is None else _jobs(jobs, of_jobs[:ROWS]),
            "workers": len(processes),
            "store": {"kind": self._state.store_uri.partition(":")[0], "lost": lost},
        }

    def _jobs(self, now: float) -> JobsSnapshot | None:
        """How jobs stand; those that could not be read a moment ago are not asked for."""
        if now < self._jobs_lost_until:
            return JobsSnapshot(available=False)
        found = read_jobs(self._app)
        if found is not None and not found.available:
            self._jobs_lost_until = now + JOBS_AGAIN
        return found

    def _keep_base(self) -> None:
        """Keep what to compare with, for when the page is opened."""
        with self._lock:
            now = self._clock()
            if not self._bases or now - self._bases[-1][0] >= BASE_EVERY:
                self._base(now, self._state.counters.get().totals())

    def _base(self, now: float, totals: Totals) -> tuple[float, Totals]:
        """A reading of about a minute ago, and when it was.

        A process that has not counted for so long compares with nothing: all that was ever counted.
        """
        bases = self._bases
        if not bases:
            bases += [(0.0, {}), (now, totals)]
        elif now - bases[-1][0] >= BASE_EVERY:
            bases.append((now, totals))
        while len(bases) > 1 and now - bases[1][0] >= LATELY:
            bases.popleft()
        return bases[0]

    def _limits(
        self, found: list[LimiterSnapshot], decided: list[LimitLoad]
    ) -> list[dict[str, Any]]:
        templates: defaultdict[str, set[str]] = defaultdict(set)
        for rule in self._app.url_map.iter_rules():
            templates[rule.endpoint].add(rule.rule)
        rows = []
        met = set()
        for each in decided:
            if each.route.startswith(self._prefix):
                continue
            row: dict[str, Any] = {
                "limit": each.limit,
                "route": each.route,
                "admitted": each.results.get("admitted", 0),
                "refused": each.refused,
                "results": each.results,
            }
            for known in found:
                shared = not known.route or each.route in templates[known.route]
                if known.name == each.limit and shared:
                    row |= _count(known)
                    met.add(id(known))
            rows.append(row)
        for known in found:
            if id(known) not in met:
                route = next(iter(sorted(templates[known.route])), "") if known.route else ""
                row = {"limit": known.name, "route": route, "admitted": 0, "refused": 0}
                rows.append({**row, "results": {}, **_count(known)})
        return rows


def _count(known: LimiterSnapshot) -> dict[str, Any]:
    return {
        "used": known.used,
        "of": known.used + known.remaining,
        "in_flight": known.period is None,
        "waiting": known.waiting,
        "max_queue": known.max_queue,
    }


def _route(each: RouteLoad) -> dict[str, Any]:
    return {
        "method": each.method,
        "route": each.route or "(no route)",
        "requests": each.load.requests,
        "refused": each.load.refused,
        "errors": each.load.errors + each.load.late,
        "mean": round(each.load.mean, 5),
        "p50": each.p50,
        "p95": each.p95,
    }


def _jobs(jobs: JobsSnapshot, lately: list[JobLoad]) -> dict[str, Any]:
    names = [{"name": each.name, **dict.fromkeys(JOB_EVENTS, 0), **each.events} for each in lately]
    return {**asdict(jobs), "longest_wait": round(jobs.longest_wait, 3), "names": names}


def _job_facts(jobs: JobsSnapshot, lately: list[JobLoad]) -> JobFacts:
    return JobFacts(
        **asdict(jobs),
        failed=sum(each.events.get("failed", 0) for each in lately),
        rescued=sum(each.events.get("rescued", 0) for each in lately),
    )


def _refused(processes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Who was refused lately, by all processes together; the latest first."""
    sums: dict[str, tuple[int, float, str]] = {}
    for process in processes:
        for key, (times, at, limit) in process["refused"].items():
            before = sums.get(key, (0, 0.0, ""))
            latest = limit if at >= before[1] else before[2]
            sums[key] = before[0] + times, max(at, before[1]), latest
    latest_first = sorted(sums.items(), key=lambda item: -item[1][1])
    return [
        {"key": key, "times": times, "at": round(at, 1), "limit": limit}
        for key, (times, at, limit) in latest_first
    ]


def _executors(processes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"process": process["process"], "name": name, **said}
        for process in processes
        for name, said in process["executors"].items()
    ]


def _load(rows: list[Row]) -> Load:
    requests = sum(row[1] for row in rows)
    return Load(
        requests=round(requests),
        good=round(sum(row[2] for row in rows)),
        refused=round(sum(row[3] for row in rows)),
        errors=round(sum(row[4] for row in rows)),
        late=round(sum(row[5] for row in rows)),
        seconds=sum(row[1] * row[6] for row in rows),
    )


def _short(row: Row) -> list[float]:
    """A row in few characters: an hour of them goes over the line at once."""
    return [int(value) if value == int(value) else round(value, 4) for value in row]
