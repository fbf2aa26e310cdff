"""Options of limits that are declared for the whole app, by default or all routes together."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, g, request

from flask_concurrency import Concurrency, ConfigurationError, Limits, Rate

PLACES = ("default_limits", "app_limits")
each_place = pytest.mark.parametrize("place", PLACES)


def make_app(place: str, *limits: Any) -> Flask:
    """An app with one route for all methods, whose answer has the status it is asked for."""
    app = Flask(__name__)
    Concurrency(app, store="memory://", **{place: limits})  # type: ignore[arg-type]

    @app.before_request
    def log_in() -> None:
        g.user = request.args.get("user", "")

    @app.route("/", methods=["GET", "POST"])
    def index() -> tuple[str, int]:
        return "", request.args.get("status", 200, int)

    return app


def ask(app: Flask, method: str = "GET", path: str = "/", **options: Any) -> int:
    with app.test_client().open(path, method=method, **options) as response:
        return response.status_code


@each_place
def test_methods(place: str) -> None:
    """Another limit for each method; what no limit names is unlimited."""
    app = make_app(place, Limits("2/hour", methods=["GET"]), Limits("1/hour", methods=["POST"]))
    assert [ask(app) for _ in range(3)] == [200, 200, 429]
    assert [ask(app, "POST") for _ in range(2)] == [200, 429]


@each_place
def test_exempt_when(place: str) -> None:
    """An exempt request is not counted."""
    app = make_app(place, Limits("1/hour", exempt_when=lambda: "X-Admin" in request.headers))
    assert [ask(app, headers={"X-Admin": "1"}) for _ in range(3)] == [200] * 3
    assert [ask(app) for _ in range(2)] == [200, 429]


@each_place
def test_cost(place: str) -> None:
    """A number, or a function of the request."""
    app = make_app(place, Limits("4/hour", cost=lambda: request.args.get("n", 1, int)))
    assert [ask(app, path=f"/?n={n}") for n in (2, 3, 2, 1)] == [200, 429, 200, 429]


@each_place
def test_key(place: str) -> None:
    """Who is counted, beside who is counted otherwise."""
    app = make_app(place, "3/hour", Limits("1/hour", key=lambda: request.args["user"]))
    users = ("ann", "ann", "bob", "cy", "dee")
    assert [ask(app, path=f"/?user={user}") for user in users] == [200, 429, 200, 200, 429]


@each_place
def test_charge_when(place: str) -> None:
    """Reserved, then given back where the response is not charged."""
    app = make_app(place, Limits("1/hour", charge_when=lambda answer: answer.status_code == 401))
    assert [ask(app) for _ in range(3)] == [200] * 3
    assert [ask(app, path="/?status=401") for _ in range(2)] == [401, 429]


@each_place
def test_shadow(place: str) -> None:
    """Counted, and admitted."""
    app = make_app(place, Limits("1/hour", shadow=True))
    assert [ask(app) for _ in range(3)] == [200] * 3


@each_place
def test_view_stage(place: str) -> None:
    """Asked after all hooks, by what they found; a page that is not there has no view."""
    app = make_app(place, Limits("1/hour", key=lambda: g.user, at="view"))
    assert [ask(app, path=f"/?user={user}") for user in ("ann", "ann", "bob")] == [200, 429, 200]
    assert [ask(app, path="/nowhere") for _ in range(2)] == [404, 404]


def test_an_app_limit_with_options_counts_what_no_route_serves() -> None:
    """Scanners meet it as they meet one without."""
    app = make_app("app_limits", Limits("2/hour", methods=["GET"]))
    assert [ask(app, path="/nowhere") for _ in range(3)] == [404, 404, 429]
    assert ask(app, "POST", "/nowhere") == 404


def test_a_name_is_shared_with_routes_and_blocks() -> None:
    """As everywhere: all limits of one name spend from one count."""
    app = Flask(__name__)
    concurrency = Concurrency(app, default_limits=Limits("2/hour", name="mail"))

    @app.get("/")
    def index() -> str:
        return ""

    @app.get("/send")
    @concurrency.exempt
    def send() -> str:
        with concurrency.limit("2/hour", name="mail"):
            return "sent"

    assert [ask(app), ask(app, path="/send"), ask(app)] == [200, 200, 429]


def test_configuration_may_hold_options() -> None:
    """In Python files, where configuration may be any object."""
    app = Flask(__name__)
    app.config["CONCURRENCY_DEFAULT_LIMITS"] = [
        Rate("9/hour"),
        [Limits("1/hour", methods=["POST"])],
    ]
    Concurrency(app)
    app.route("/", methods=["GET", "POST"])(lambda: "")
    assert [ask(app), ask(app, "POST"), ask(app, "POST"), ask(app)] == [200, 200, 429, 200]


MISTAKES: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {}, "Limits() needs a limit, as in Limits("),
    (("5/minuet",), {}, "unknown unit 'minuet'"),
    (("5/minute",), {"key": "ip"}, "key='ip'"),
    (("5/minute",), {"cost": -1}, "-1 units"),
    (("5/minute",), {"methods": ["get"]}, "methods=['get']"),
    (("5/minute",), {"exempt_when": True}, "exempt_when=True"),
    (("5/minute",), {"name": "ключ"}, "printable ASCII"),
    (("5/minute",), {"at": "end"}, "at='end'"),
    (("5/minute",), {"charge_when": 401}, "charge_when=401"),
]


@pytest.mark.parametrize(("limits", "options", "told"), MISTAKES)
def test_a_mistake_is_told_where_it_is_written(
    limits: tuple[Any, ...], options: dict[str, Any], told: str
) -> None:
    """Not at ``init_app``, and not in a request."""
    with pytest.raises(ConfigurationError) as caught:
        Limits(*limits, **options)
    assert told in str(caught.value)
