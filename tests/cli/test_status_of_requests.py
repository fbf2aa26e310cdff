"""``flask concurrency status``: refusals and rates first, and how old they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click import unstyle
from click.testing import Result
from flask import Flask
from flask.cli import ScriptInfo

from flask_concurrency import Concurrency
from flask_concurrency.cli.load_lines import (
    age_line,
    fleet_rows,
    load_rows,
    other_spelling,
    refusal_rows,
)
from flask_concurrency.engine.snapshot import LimiterSnapshot
from flask_concurrency.flask_app.app_snapshot import FleetSnapshot, Snapshot
from flask_concurrency.flask_app.work.status_file import ExecutorStatus
from flask_concurrency.telemetry.load import LimitLoad, Load

Run = Callable[..., Result]


def make_app(*, counts: bool = True) -> Flask:
    """An app as a worker or a command makes it: each call is another process's view of it."""
    app = Flask("shop")
    app.config["CONCURRENCY_COUNTS"] = counts
    concurrency = Concurrency(app, store="host://")

    @app.get("/")
    @concurrency.limit("2/minute")
    def home() -> str:
        return "home"

    return app


def script(app: Flask) -> ScriptInfo:
    """How a command finds an app."""
    return ScriptInfo(create_app=lambda: app)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate needs two looks, with no time between them here."""
    monkeypatch.setattr("flask_concurrency.cli.status.time.sleep", lambda seconds: None)


def test_refusals_of_a_worker_come_first(run: Run) -> None:
    """With what came in, before anything else."""
    worker = make_app()
    for _ in range(5):
        worker.test_client().get("/")
    told = run("status", app=script(make_app())).output
    first, _, rest = told.partition("\n\n")
    assert first.startswith("shop, ")
    assert rest.startswith("Requests:\n")
    assert "5 requests, 60 % refused" in rest
    assert "/: route:2/minute  3 over quota; 2 admitted" in rest


def test_scripts_read_the_same(run: Run) -> None:
    """In numbers, with the instant they are of."""
    worker = make_app()
    for _ in range(5):
        worker.test_client().get("/")
    told: dict[str, Any] = json.loads(run("status", "--json", app=script(make_app())).output)
    assert (told["load"]["requests"], told["load"]["refused"]) == (5, 3)
    assert told["decisions"][0]["results"] == {"admitted": 2, "over_quota": 3}
    assert told["at"] > 1_700_000_000


def test_code_reads_the_same() -> None:
    """``concurrency.snapshot()`` is what the command prints."""
    app = make_app()
    app.testing = True
    for _ in range(3):
        app.test_client().get("/")
    with app.app_context():
        found = app.extensions["concurrency"].owner.snapshot()
    assert found.load.refused == found.decisions[0].refused == 1


def test_an_app_that_counts_nothing_is_told_how_to(run: Run) -> None:
    """An empty table would look like good news."""
    app = make_app(counts=False)
    told = run("status", "--key", "127.0.0.1", app=script(app)).output
    assert "counts no refusals" in told
    assert "CONCURRENCY_COUNTS" in told


def snapshot(at: float, **facts: Any) -> Snapshot:
    """One look."""
    return Snapshot(**{"limits": (), "processes": (), "at": at, **facts})


def test_rates_are_those_between_two_looks() -> None:
    """And shares as well, since what was refused last week says nothing of now."""
    before = snapshot(100.0, load=Load(1000, 0, 1000, 0, 0, 1.0))
    now = snapshot(102.0, load=Load(1100, 60, 1020, 15, 5, 3.0))
    rows = dict(load_rows(before, now))
    plain = click_free(rows["now"])
    assert plain == "50 requests a second, 20 % refused, 15 % failed, 5 % too late; 20 ms each"
    assert click_free(rows["so far"]).startswith("1,100 requests, 93 % refused")


def test_a_limit_that_refuses_now_says_so() -> None:
    """Before what it refused so far."""
    old = LimitLoad("route:8 in flight", "/report", {"busy": 10, "admitted": 5})
    new = LimitLoad("route:8 in flight", "/report", {"busy": 50, "gave_up": 10, "admitted": 9})
    quiet = LimitLoad("route:5/minute", "/", {"admitted": 9})
    rows = refusal_rows(snapshot(1.0, decisions=(old,)), snapshot(2.0, decisions=(new, quiet)))
    assert [(title, click_free(text)) for title, text in rows] == [
        (
            "/report: route:8 in flight",
            "50 requests a second refused now; 50 too many at once, 10 gave up waiting; 9 admitted",
        )
    ]


def test_how_old_it_is_stands_on_top() -> None:
    """What processes say of their executors is two seconds old at most, if they live."""
    said = ExecutorStatus(1, 98.5, {})
    assert age_line("shop", snapshot(100.0, processes=(said,)), "03:12") == (
        "shop, 03:12; 1 process, last heard 1.5 s ago"
    )


@pytest.mark.parametrize(
    ("key", "used", "hint"),
    [
        ("alice", 0, "Did you mean 'user:alice'"),
        ("127.0.0.2", 0, "Did you mean '127.0.0.1'"),
        ("alice", 3, None),
        ("zzz", 0, None),
    ],
)
def test_a_key_that_looks_like_a_refused_one_is_named(
    key: str, used: int, hint: str | None
) -> None:
    """Zeros alone would say that the client is fine."""
    process = ExecutorStatus(
        1, 1.0, {}, {"user:alice": (3, 1.0, "login"), "127.0.0.1": (1, 1.0, "login")}
    )
    limit = LimiterSnapshot("login", "", key, 5, 60.0, used, 5 - used, 0, 0, None)
    found = other_spelling(key, snapshot(1.0, limits=(limit,), processes=(process,)))
    assert (found is None) if hint is None else (found is not None and hint in found)


def click_free(text: str) -> str:
    """Without colours."""
    import click

    return click.unstyle(text)


def test_a_fleet_is_told_with_its_refusals() -> None:
    """What all hosts counted, in the same words as that of one."""
    decisions = (
        LimitLoad("2/minute", "/", {"admitted": 10, "over_quota": 30}),
        LimitLoad("9 in flight", "", {"admitted": 40}),
    )
    load = Load(requests=40, good=10, refused=30, seconds=0.4)
    assert [
        (title, unstyle(text)) for title, text in fleet_rows(FleetSnapshot(3, load, decisions))
    ] == [
        ("so far", "40 requests, 75 % refused; 10 ms each"),
        ("/: 2/minute", "30 over quota; 10 admitted"),
    ]
