"""The finer options of limits: stages, chosen limits, settling, shadows."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Response, abort, g, request

from flask_concurrency import Concurrency, ConfigurationError, InFlight
from flask_concurrency.engine.declaration import Stage
from flask_concurrency.keys import header
from flask_requests import statuses


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


@pytest.fixture
def concurrency(app: Flask) -> Concurrency:
    return Concurrency(app)


# -- the view stage


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_view_limit_knows_what_the_hooks_found(
    app: Flask, concurrency: Concurrency, asynchronous: bool
) -> None:
    """It is asked after them all, so its key may be the user they loaded."""

    @app.before_request
    def load_user() -> None:
        g.user = request.headers.get("User", "")

    by_user = concurrency.limit("1/minute", key=lambda: g.user, at="view")
    if asynchronous:

        @app.get("/")
        @by_user
        async def async_view() -> str:
            return "hello"
    else:

        @app.get("/")
        @by_user
        def view() -> str:
            return "hello"

    for user in ("ann", "bob"):
        assert statuses(app, times=2, headers={"User": user}) == [200, 429]


def test_a_hook_that_refuses_spends_nothing_of_the_view_stage(
    app: Flask, concurrency: Concurrency
) -> None:
    """A request that is not logged in does not reach the view's limit."""

    @app.before_request
    def login() -> None:
        if "User" not in request.headers:
            abort(401)

    app.get("/")(concurrency.limit("1/minute", at="view")(lambda: "hello"))
    assert statuses(app, times=3) == [401] * 3
    assert statuses(app, times=2, headers={"User": "ann"}) == [200, 429]


def test_both_stages_are_told(app: Flask, concurrency: Concurrency) -> None:
    """The fields and the decision name the limits of arrival and view."""

    @app.get("/")
    @concurrency.limit("5/minute")
    @concurrency.limit("2 in flight", at="view")
    def view() -> list[str]:
        assert concurrency.current is not None
        return [verdict.name for verdict in concurrency.current.verdicts]

    response = app.test_client().get("/")
    assert response.json == ["route:5/minute", "route:2 in flight"]
    assert response.headers["RateLimit-Policy"].count(";q=") == 2


def test_permits_of_the_view_stage_come_back(app: Flask, concurrency: Concurrency) -> None:
    """With the last byte, like those of arrival; by hand, with the request."""
    app.get("/")(concurrency.limit("1 in flight", at="view")(lambda: "hello"))
    assert statuses(app, times=3) == [200] * 3
    for _ in range(2):
        with app.test_request_context("/"):
            assert app.full_dispatch_request().status_code == 200


# -- chosen limits


def test_a_plan_chooses_the_limit(app: Flask, concurrency: Concurrency) -> None:
    """Each customer has the limits they pay for; no limits is a plan, too."""
    plans = {"free": "1/minute", "pro": ["3/minute", InFlight(2)], "staff": None}

    def plan_limits() -> Any:
        return plans[request.headers["Plan"]]

    app.get("/")(concurrency.limit(plan_limits, key=header("Plan"))(lambda: "hello"))
    assert statuses(app, times=2, headers={"Plan": "free"}) == [200, 429]
    assert statuses(app, times=4, headers={"Plan": "pro"}) == [200, 200, 200, 429]
    assert statuses(app, times=9, headers={"Plan": "staff"}) == [200] * 9
    assert "RateLimit" not in app.test_client().get("/", headers={"Plan": "staff"}).headers


def test_defaults_may_be_chosen_too() -> None:
    """Wherever a limit is expected, a function that gives one will do."""
    app = Flask(__name__)
    Concurrency(app, default_limits=[lambda: "1/day", "9/day"])
    app.get("/")(lambda: "hello")
    assert statuses(app, times=2) == [200, 429]


@pytest.mark.parametrize("chosen", ["often", 7, lambda: "1/day"])
def test_a_chosen_limit_must_be_one(app: Flask, concurrency: Concurrency, chosen: Any) -> None:
    """A plan that cannot be read is an error, and not a request without limits."""
    app.testing = True
    app.get("/")(concurrency.limit(lambda: chosen)(lambda: "hello"))
    with pytest.raises(ConfigurationError):
        app.test_client().get("/")


@pytest.mark.parametrize("first", ["fixed", "chosen"])
@pytest.mark.parametrize("at", ["arrival", "view"])
def test_a_chosen_limit_counts_beside_one_of_the_same_text(
    app: Flask, concurrency: Concurrency, first: str, at: Stage
) -> None:
    """One counts clients, the other customers, and each is asked, whichever is declared first."""
    fixed = concurrency.limit("1/minute", key=header("Client"))
    chosen = concurrency.limit(lambda: "1/minute", key=header("Customer"), at=at)
    outer, inner = (fixed, chosen) if first == "fixed" else (chosen, fixed)
    app.get("/")(outer(inner(lambda: "hello")))
    assert statuses(app, headers={"Client": "1", "Customer": "1"}) == [200]
    assert statuses(app, headers={"Client": "1", "Customer": "2"}) == [429]
    assert statuses(app, headers={"Client": "2", "Customer": "1"}) == [429]
    fields = app.test_client().get("/", headers={"Client": "3", "Customer": "3"}).headers
    assert '"route:1/minute (2)"' in fields["RateLimit"]


def test_what_another_function_chooses_does_not_move_a_count(
    app: Flask, concurrency: Concurrency
) -> None:
    """A customer's count is one, whether or not the region of the moment has the same limit."""
    region = concurrency.limit(lambda: request.headers["Region"], key=lambda: "")
    customer = concurrency.limit(lambda: "2/minute", key=header("Customer"))
    app.get("/")(region(customer(lambda: "hello")))
    regions = ["2/minute", "9/minute", "8/minute"]
    told = [statuses(app, headers={"Customer": "1", "Region": each})[0] for each in regions]
    assert told == [200, 200, 429]


def test_a_limit_that_is_chosen_twice_is_asked_once(app: Flask, concurrency: Concurrency) -> None:
    """It is the same count, of which a request spends one unit."""
    app.get("/")(concurrency.limit(lambda: "2/minute; 2/minute", lambda: "2/minute")(lambda: ""))
    assert statuses(app, times=3) == [200, 200, 429]


# -- settling


def test_only_failed_logins_are_charged(app: Flask, concurrency: Concurrency) -> None:
    """A user with the right password is never locked out by logging in; a guesser is."""

    @app.post("/login")
    @concurrency.limit("2/minute", charge_when=lambda response: response.status_code == 401)
    def login() -> tuple[str, int]:
        return ("welcome", 200) if request.form["password"] == "right" else ("no", 401)

    right, wrong = {"data": {"password": "right"}}, {"data": {"password": "wrong"}}
    assert statuses(app, "/login", 5, method="POST", **right) == [200] * 5
    assert statuses(app, "/login", 2, method="POST", **wrong) == [401] * 2
    assert statuses(app, "/login", 1, method="POST", **right) == [429]


def test_an_error_page_settles_like_any_response(app: Flask, concurrency: Concurrency) -> None:
    """Our own failure need not cost the client anything."""
    app.config["PROPAGATE_EXCEPTIONS"] = False

    def fine(response: Response) -> bool:
        return response.status_code < 500

    @app.get("/")
    @concurrency.limit("1/minute", charge_when=fine)
    def view() -> str:
        if "Fail" in request.headers:
            raise ZeroDivisionError
        return "hello"

    assert statuses(app, times=3, headers={"Fail": "yes"}) == [500] * 3
    assert statuses(app, times=2) == [200, 429]


# -- shadows


def test_a_shadow_lets_in_and_tells_only_the_app(app: Flask, concurrency: Concurrency) -> None:
    """The client cannot see a limit that is only tried out."""

    @app.get("/")
    @concurrency.limit("1/minute", shadow=True)
    def view() -> list[bool]:
        assert concurrency.current is not None
        return [verdict.admitted for verdict in concurrency.current.verdicts]

    client = app.test_client()
    assert [client.get("/").json for _ in range(3)] == [[True], [False], [False]]
    assert "RateLimit-Policy" not in client.get("/").headers


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"at": "door"}, "at='door'"),
    ({"charge_when": 401}, "charge_when=401"),
    ({"charge_when": 0}, "charge_when=0"),
    ({"exempt_when": False}, "exempt_when=False"),
    ({"replace": "no"}, "replace='no'"),
    ({"shadow": "no"}, "shadow='no'"),
]


@pytest.mark.parametrize(("options", "told"), MISTAKES)
def test_a_wrong_option_fails_where_it_is_written(
    concurrency: Concurrency, options: dict[str, Any], told: str
) -> None:
    """At definition, with the value in the message."""
    with pytest.raises(ConfigurationError, match=told):
        concurrency.limit("5/minute", **options)
