"""``at="call"``: limits that are asked where their decorator stands."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

import pytest
from flask import Blueprint, Flask, abort, g, request
from flask.views import MethodView
from flask_httpauth import HTTPTokenAuth  # type: ignore[import-untyped]
from flask_jwt_extended import JWTManager, create_access_token, get_jwt_identity, jwt_required
from flask_restx import Api, Resource

from flask_concurrency import Concurrency, ConfigurationError, Limits

View = Callable[..., Any]


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


@pytest.fixture
def concurrency(app: Flask) -> Concurrency:
    return Concurrency(app, store="memory://")


def status(app: Flask, token: str | None = None, path: str = "/") -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with app.test_client().get(path, headers=headers) as response:
        return response.status_code


def assert_users_are_counted_apart(app: Flask, tokens: list[str]) -> None:
    """Five anonymous requests lock no user out, and each user has a count."""
    assert [status(app) for _ in range(4)] == [401] * 4
    for token in tokens:
        assert [status(app, token) for _ in range(3)] == [200, 200, 429]


def token_required(view: View) -> View:
    @wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        g.user = request.headers.get("Authorization", "").removeprefix("Bearer ") or abort(401)
        return view(*args, **kwargs)

    return checked


def test_a_user_that_a_decorator_of_ones_own_finds(app: Flask, concurrency: Concurrency) -> None:
    """The key reads what the decorator above wrote; a request it denies is not counted."""

    @app.get("/")
    @token_required
    @concurrency.limit("2/hour", key=lambda: g.user, at="call")
    def index() -> str:
        return "hello"

    assert_users_are_counted_apart(app, ["ada", "bob"])


def test_a_user_that_flask_httpauth_finds(app: Flask, concurrency: Concurrency) -> None:
    """``auth.current_user`` is set by ``auth.login_required``."""
    auth = HTTPTokenAuth()
    auth.verify_token(lambda token: token or None)

    @app.get("/")
    @auth.login_required
    @concurrency.limit("2/hour", key=auth.current_user, at="call")
    def index() -> str:
        return "hello"

    assert_users_are_counted_apart(app, ["ada", "bob"])


def test_a_user_that_flask_jwt_extended_finds(app: Flask, concurrency: Concurrency) -> None:
    """``get_jwt_identity`` raises before ``jwt_required`` has run."""
    app.config["JWT_SECRET_KEY"] = "a key of thirty-two bytes or more"
    JWTManager(app)

    @app.get("/")
    @jwt_required()
    @concurrency.limit("2/hour", key=get_jwt_identity, at="call")
    def index() -> str:
        return "hello"

    with app.app_context():
        tokens = [create_access_token(identity=name) for name in ("ada", "bob")]
    assert_users_are_counted_apart(app, tokens)


def test_an_async_view_asks_too(app: Flask, concurrency: Concurrency) -> None:
    """Without stopping the loop."""

    def async_token_required(view: View) -> View:
        @wraps(view)
        async def checked(*args: Any, **kwargs: Any) -> Any:
            g.user = request.headers.get("Authorization") or abort(401)
            return await view(*args, **kwargs)

        return checked

    @app.get("/")
    @async_token_required
    @concurrency.limit("2/hour", key=lambda: g.user, at="call")
    async def index() -> str:
        return "hello"

    assert_users_are_counted_apart(app, ["ada", "bob"])


def test_it_counts_beside_the_other_stages(app: Flask, concurrency: Concurrency) -> None:
    """Every limit is in the header fields, and a permit is held to the end of the request."""

    @app.get("/")
    @concurrency.limit("9/hour")
    @concurrency.limit("1 in flight", at="call")
    def index() -> str:
        assert concurrency.current is not None
        return ",".join(verdict.name for verdict in concurrency.current.verdicts)

    for _ in range(2):
        with app.test_client().get("/") as response:
            assert response.get_data(as_text=True) == "route:9/hour,route:1 in flight"


def test_methods_exemptions_and_the_switch_hold_there(app: Flask, concurrency: Concurrency) -> None:
    """It is a limit of the route like the others."""

    @app.route("/", methods=["GET", "POST"])
    @concurrency.limit("1/hour", at="call", methods=["POST"])
    def index() -> str:
        return "hello"

    @app.get("/free")
    @concurrency.exempt
    @concurrency.limit("1/hour", at="call")
    def free() -> str:
        return "hello"

    assert [status(app) for _ in range(3)] == [200] * 3
    assert [app.test_client().post("/").status_code for _ in range(2)] == [200, 429]
    assert [status(app, path="/free") for _ in range(3)] == [200] * 3


def test_a_function_that_views_call_is_asked_once_a_request(
    app: Flask, concurrency: Concurrency
) -> None:
    """Each route counts for itself, however often the function is called in a request."""

    @concurrency.limit("2/hour", at="call")
    def search() -> str:
        return "found"

    @app.get("/")
    def index() -> str:
        return search() + search()

    @app.get("/other")
    def other() -> str:
        return search()

    assert search() == "found"  # outside of a request there is nothing to limit
    assert [status(app) for _ in range(3)] == [200, 200, 429]
    assert status(app, path="/other") == 200


def test_a_class_takes_it_in_its_decorators(app: Flask, concurrency: Concurrency) -> None:
    """In the order in which they stand."""

    class Shop(MethodView):
        decorators: ClassVar = [
            concurrency.limit("2/hour", key=lambda: g.user, at="call"),
            token_required,
        ]

        def get(self) -> str:
            return "hello"

    app.add_url_rule("/", view_func=Shop.as_view("shop"))
    assert_users_are_counted_apart(app, ["ada", "bob"])


def test_what_is_no_function_cannot_ask_there(concurrency: Concurrency) -> None:
    """A class, a blueprint and the app's own limits stand nowhere in particular."""
    for target in (MethodView, Blueprint("shop", __name__)):
        with pytest.raises(ConfigurationError, match="is no function"):
            concurrency.limit("1/hour", at="call")(target)
    with pytest.raises(ConfigurationError, match="no decorator stands"):
        Limits("1/hour", at="call")


@pytest.mark.parametrize("others", [[], [token_required]])
def test_method_decorators_of_flask_restx_limit(
    app: Flask, concurrency: Concurrency, others: list[View]
) -> None:
    """They decorate anew in each request; what they limit is counted all the same."""

    class Shop(Resource):  # type: ignore[misc]
        method_decorators: ClassVar = [*others, concurrency.limit("2/hour")]

        def get(self) -> str:
            return "hello"

    Api(app).add_resource(Shop, "/shop")
    assert [status(app, "ada", "/shop") for _ in range(4)] == [200, 200, 429, 429]


def test_method_decorators_of_flask_restx_that_cannot_work_say_so(
    app: Flask, concurrency: Concurrency
) -> None:
    """A deadline or an exemption must stand before its request begins."""

    class Shop(Resource):  # type: ignore[misc]
        method_decorators: ClassVar = [concurrency.deadline(1.0)]

        def get(self) -> str:
            return "hello"

    Api(app).add_resource(Shop, "/shop")
    app.testing = True
    with pytest.raises(ConfigurationError, match="'decorators'"):
        app.test_client().get("/shop")
