"""What the page on users and plans promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, g
from flask.testing import FlaskClient

PAGE = "docs/how-to/per-user-and-plan.md"
FLASK_LOGIN, OWN_HOOK, PLANS, API_KEYS, COST = range(5)
Run = Callable[..., dict[str, Any]]


def left(client: FlaskClient, path: str = "/search", **headers: str) -> dict[str, int]:
    """What each limit has left after one more request."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    field = client.get(path, headers=sent).headers["RateLimit"]
    items = [item.split(";") for item in field.split(", ")]
    return {name.strip('"'): int(r.removeprefix("r=")) for name, r, *_ in items}


def logged_in(app: Flask, user_id: str) -> FlaskClient:
    """A browser in whose session Flask-Login has written a user."""
    client = app.test_client()
    with client.session_transaction() as session:
        session["_user_id"] = user_id
    return client


def test_a_user_named_like_an_address_has_a_count_of_their_own(run_block: Run) -> None:
    """No user can spend the quota of another by the name they choose."""
    app = run_block(PAGE, FLASK_LOGIN)["app"]
    nobody = app.test_client()

    assert left(nobody) == {"route:100/hour": 99}
    assert left(logged_in(app, "127.0.0.1")) == {"route:100/hour": 99}
    assert left(logged_in(app, "42")) == {"route:100/hour": 99}
    assert left(logged_in(app, "42")) == {"route:100/hour": 98}
    assert left(nobody) == {"route:100/hour": 98}


def test_a_user_found_by_a_hook_is_counted_at_the_view(run_block: Run) -> None:
    """Users by name, all others by address, and wrong tokens not at all at this stage."""
    client = run_block(PAGE, OWN_HOOK)["app"].test_client()

    assert left(client, Authorization="Bearer t-1")["route:100/hour"] == 99
    assert left(client, Authorization="Bearer t-2")["route:100/hour"] == 99
    assert left(client, Authorization="Bearer t-1")["route:100/hour"] == 98
    assert left(client)["route:100/hour"] == 99
    wrong = client.get("/search", headers={"Authorization": "Bearer guess"})
    assert wrong.status_code == 401
    assert "route:100/hour" not in wrong.headers["RateLimit"]
    assert left(client) == {"default:1000/hour": 994, "route:100/hour": 98}


def test_what_is_refused_at_the_view_has_spent_what_arrival_asks(run_block: Run) -> None:
    """Two questions, one after the other."""
    client = run_block(PAGE, OWN_HOOK)["app"].test_client()
    for _ in range(100):
        client.get("/search")

    assert client.get("/search").status_code == 429
    assert left(client, Authorization="Bearer t-1")["default:1000/hour"] == 1000 - 102


@pytest.mark.parametrize(
    ("plan", "limits"),
    [
        ("free", {"plan:20/minute": 19, "plan:500/day": 499}),
        ("pro", {"plan:600/minute": 49}),
        ("staff", {}),
    ],
)
def test_a_plan_brings_its_limits(run_block: Run, plan: str, limits: dict[str, int]) -> None:
    """Those of its customers, and none for staff."""
    app = run_block(PAGE, PLANS)["app"]
    app.before_request_funcs[None][0] = lambda: g.__dict__.update(user="ada", plan=plan)
    client = app.test_client()

    if limits:
        assert left(client) == limits
    else:
        assert "RateLimit" not in client.get("/search").headers


def test_who_changes_plan_begins_anew(run_block: Run) -> None:
    """Counts belong to the limit, and are still there if they come back."""
    app = run_block(PAGE, PLANS)["app"]
    plan = ["free"]
    app.before_request_funcs[None][0] = lambda: g.__dict__.update(user="ada", plan=plan[0])
    client = app.test_client()

    left(client)
    plan[0] = "pro"
    assert left(client) == {"plan:600/minute": 49}
    plan[0] = "free"
    assert left(client) == {"plan:20/minute": 18, "plan:500/day": 498}


def test_a_misspelt_text_is_found_in_the_request(
    run_block: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """As the page warns: 500, and the log says what is wrong."""
    names = run_block(PAGE, PLANS)
    names["PLANS"]["pro"] = "600/minuet"

    assert names["app"].test_client().get("/search").status_code == 500
    assert "did you mean 'minute'?" in caplog.text


def test_an_address_bounds_those_who_invent_keys(run_block: Run) -> None:
    """Each key has its count, and all of them together that of the address."""
    client = run_block(PAGE, API_KEYS)["app"].test_client()

    counts = [left(client, X_API_Key=f"guess-{number}") for number in range(3)]
    assert [count["route:100/minute"] for count in counts] == [99, 99, 99]
    assert [count["route:300/minute"] for count in counts] == [299, 298, 297]
    assert left(client)["route:100/minute"] == 99
    assert left(client)["route:100/minute"] == 98


@pytest.mark.parametrize(("rows", "spent"), [("", 2), ("?rows=1000", 11), ("?rows=9999999", 11)])
def test_a_bigger_export_costs_more(run_block: Run, rows: str, spent: int) -> None:
    """And no request can ask for one that costs more than there is."""
    client = run_block(PAGE, COST)["app"].test_client()

    assert left(client, f"/export{rows}") == {"route:100/hour": 100 - spent}


def test_what_can_never_be_afforded_is_not_told_to_come_back(run_block: Run) -> None:
    """No ``Retry-After``, and nothing is spent."""
    names = run_block(PAGE, COST)
    client = names["app"].test_client()
    names["min"] = lambda *_: 20_000

    refused = client.get("/export")
    assert refused.status_code == 429
    assert "Retry-After" not in refused.headers
    names["min"] = lambda *_: 100
    assert left(client, "/export") == {"route:100/hour": 98}
