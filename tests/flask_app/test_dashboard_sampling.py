"""Rows of the dashboard's history: every second is in one of them, whichever process writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency
from flask_concurrency.flask_app.app_counters import AppCounters
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.dashboard.sampling import COLUMNS, Sampler
from flask_concurrency.flask_app.dashboard.view import READABLE, View
from flask_concurrency.testing.manual_clock import ManualClock

REQUESTS = COLUMNS.index("requests") + 1


def sampled_app() -> tuple[Flask, AppState]:
    """An app whose requests are counted."""
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app)
    concurrency.metrics(app)
    app.get("/")(lambda: "page")
    state: AppState = app.extensions["concurrency"]
    return app, state


def requests_of(sampler: Sampler, clock: ManualClock) -> list[float]:
    """Requests in each row of the last minute."""
    now = int(clock())
    return [row[REQUESTS] for row in sampler.history.rows(after=now - 60, until=now)]


def test_the_first_row_holds_what_came_since_the_first_request() -> None:
    """A burst within a worker's first second is seen."""
    app, state = sampled_app()
    clock = ManualClock(1_000_000.5)
    sampler = Sampler(app, state, "/_concurrency", clock=clock)
    sampler.begin()
    for _ in range(20):
        app.test_client().get("/")
    clock.advance(0.5)
    sampler.sample()
    assert requests_of(sampler, clock) == [20]
    sampler.close()


def test_the_process_that_takes_over_knows_the_second_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came between the last row of the one that ended and the first of the next is seen."""
    parent = tmp_path / "private"
    parent.mkdir(mode=0o700)
    monkeypatch.setattr(AppCounters, "directory", lambda _counters: parent / "counters")
    app, state = sampled_app()
    clock = ManualClock(1_000_000.0)
    first, second = (Sampler(app, state, "/_concurrency", clock=clock) for _ in range(2))
    for sampler in (first, second):
        sampler.begin()
    for burst in (3, 4):
        for _ in range(burst):
            app.test_client().get("/")
        clock.advance(1.0)
        first.sample()
        second.sample()
    assert not second.history.writes
    first.close()
    for _ in range(5):
        app.test_client().get("/")
    clock.advance(1.0)
    second.sample()
    assert requests_of(second, clock) == [3, 4, 5]
    second.close()


class Watched:
    """A view of an app, and how often it was put together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> None:
        app, state = sampled_app()
        app.testing = False
        self.looks = 0

        def look(_view: View, _now: float) -> dict[str, Any]:
            self.looks += 1
            return {"words": f"look {self.looks}"}

        monkeypatch.setattr(View, "_look", look)
        self.view = View(
            app, state, Sampler(app, state, "/_concurrency", clock=clock), "/_c", clock=clock
        )


@pytest.mark.parametrize("begun_in", [0.0, 0.05, 0.1, 0.11, 0.5, 0.999])
def test_a_page_is_told_of_a_second_a_tenth_after_its_end(
    begun_in: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in a second it was opened: so a burst is seen 1.1 seconds later at the most."""
    clock = ManualClock(1_000_000 + begun_in)
    view = Watched(monkeypatch, clock).view
    for second in range(1, 4):
        clock.advance(view.until_next())
        assert clock() % 1.0 == pytest.approx(READABLE, abs=1e-6)
        assert clock() - (1_000_000 + begun_in) <= second + READABLE


def test_a_hundred_who_watch_are_shown_one_look_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """And none of them, whenever it asks, holds back what is new from those who are told."""
    clock = ManualClock(1_000_000.1)
    watched = Watched(monkeypatch, clock)
    for second in range(1, 4):
        shown = {watched.view.now(0)["words"] for _ in range(100)}
        assert shown == {f"look {second}"}
        clock.advance(0.9)  # one that asks, late in the second and before the next row
        assert watched.view.now(0)["words"] == f"look {second}"
        clock.advance(0.1)
    assert watched.looks == 3
