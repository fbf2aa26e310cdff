"""Write one row of an app's history a second, in whichever process holds the right to.

Knows counters, stores and what processes publish; knows no page.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

from flask import Flask

from flask_concurrency.engine.snapshot import LimiterSnapshot, look
from flask_concurrency.flask_app.app_snapshot import read_processes
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.work.status_publishing import snapshots
from flask_concurrency.runtime.every_second import call_every_second
from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.telemetry.history import History
from flask_concurrency.telemetry.load import difference, load_of
from flask_concurrency.telemetry.names import Totals
from flask_concurrency.vocabulary.clock import Clock, wall
from flask_concurrency.vocabulary.errors import StoreError
from flask_concurrency.vocabulary.limits import InFlight
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.telemetry")

COLUMNS: Final = (
    "requests",
    "good",
    "refused",
    "errors",
    "late",
    "mean",
    "in_flight",
    "waiting",
    "cap",
    "age",
    "lag",
)
"""What a row holds, each of one second; a cap of -1 is none."""

MISSED: Final = 5
"""Seconds after which a row is no more the difference to the last one: it begins anew."""


class Sampler:
    """Samples one app; a forked child begins anew with its first request.

    :param app: The app.
    :param state: What it owns.
    :param prefix: Routes that begin so are not counted as load: they only watch.
    :param clock: Seconds since 1970.
    :ivar on_second: Called once a second, in every process.
    """

    def __init__(self, app: Flask, state: AppState, prefix: str, *, clock: Clock = wall) -> None:
        self._app = weakref.ref(app)
        self._state = weakref.ref(state)
        self._prefix = prefix
        self._clock = clock
        self._history: History | None = None
        self.on_second: Callable[[], None] = lambda: None
        self._reset()
        call_in_child(self, Sampler._reset_after_fork)

    def _reset(self) -> None:
        self._lock = threading.Lock()  # one samples at a time
        self._beginning = threading.Lock()
        self._stop = threading.Event()
        self._process: int | None = None
        self._last: tuple[int, Totals] | None = None

    def _reset_after_fork(self) -> None:
        """Leave the parent its file: a child that had it open would keep its lock alive."""
        self._reset()
        if self._history is not None:
            self._history.reset_after_fork()

    @property
    def history(self) -> History:
        """The rows so far."""
        if self._history is None:
            with self._beginning:
                if self._history is None:
                    state = self._state()
                    directory = None if state is None else state.counters.directory()
                    self._history = History(directory, len(COLUMNS))
        return self._history

    def begin(self) -> None:
        """Sample from now on in this process; costs nothing if it does already."""
        if self._process == os.getpid():
            return
        with self._beginning:
            app = self._app()
            if self._process == os.getpid() or app is None:
                return
            self._process = os.getpid()
            self._read_first()
            if app.testing:  # it samples when it is asked, so that tests need not wait
                return
            call_every_second(
                self, Sampler._sample_and_tell, self._stop, name="concurrency-history"
            )

    def _read_first(self) -> None:
        """Read what the first row is compared with now, so that it holds what comes from now on."""
        state = self._state()
        if state is not None:
            self._last = (int(self._clock()), state.counters.get().totals())

    def close(self) -> None:
        """Sample no more, and let another process do it."""
        self._stop.set()
        with self._lock:
            if self._history is not None:
                self._history.close()

    def _sample_and_tell(self) -> None:
        try:
            self.sample()
            self.on_second()
        except Exception:
            logger.exception("The history could not be written")

    def sample(self) -> None:
        """Write the row of this second, if this process is the one that writes.

        The others read the counts as well: the one that takes over when the writer dies knows what
        the second before it was like.
        """
        self.begin()
        with self._lock:
            app, state = self._app(), self._state()
            if app is None or state is None or self._stop.is_set():
                return
            second, totals = int(self._clock()), state.counters.get().totals()
            last, self._last = self._last, (second, totals)
            if not self.history.hold():
                return
            if last is None or not 0 < second - last[0] <= MISSED:
                self._last = last if last is not None and second == last[0] else self._last
                return
            load = load_of(difference(last[1], totals), without=self._prefix)
            inside = in_flight_of(app, state)
            row = (
                load.requests,
                load.good,
                load.refused,
                load.errors,
                load.late,
                load.mean,
                sum(each.used for each in inside),
                sum(each.waiting for each in inside),
                *guards_of(processes_of(app, state)),
            )
            # A second that was missed was like the one that follows.
            passed = second - last[0]
            for missed in range(last[0] + 1, second + 1):
                counts = [number / passed for number in row[:5]]
                self.history.write(missed, [*counts, *row[5:]])


def in_flight_of(app: Flask, state: AppState) -> list[LimiterSnapshot]:
    """The in-flight limits of an app that count all requests together."""
    limiters = [each for each in state.limiters(app) if isinstance(each.limit, InFlight)]
    try:
        return look(limiters, state.store, key=None)
    except StoreError:
        return []


def processes_of(app: Flask, state: AppState) -> list[dict[str, Any]]:
    """What each process of the deployment last said; for an app under test what this one says."""
    if app.testing:
        said = {**snapshots(state.executors), **state.adaptive_snapshots()}
        refused = state.counters.refused_clients.snapshot()
        return [_as_dict(os.getpid(), said, refused)]
    try:
        found = read_processes(app, state)
    except StoreError as error:
        logger.warning("What other processes do cannot be read: %s", error)
        return []
    return [
        {
            "process": each.process,
            "published": each.published,
            "executors": each.executors,
            "refused": each.refused,
        }
        for each in found
    ]


def guards_of(processes: list[dict[str, Any]]) -> tuple[float, float, float]:
    """The caps of adaptive limits together, -1 for none; the greatest age; the greatest lag."""
    cap, age, lag = -1.0, 0.0, 0.0
    for process in processes:
        for said in process["executors"].values():
            if "too_old" in said:
                if said["cap"] is not None:
                    cap = max(cap, 0.0) + said["cap"]
                age = max(age, said["age"])
            lag = max(lag, said.get("lag", 0.0))
    return cap, age, lag


def _as_dict(process: int, said: Mapping[str, Any], refused: Mapping[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "process": process,
        "published": wall(),
        "executors": {name: asdict(snapshot) for name, snapshot in said.items()},
        "refused": refused,
    }
