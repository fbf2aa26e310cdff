"""Whose a declaration is: apps that share blueprints, functions that are used twice."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView

from flask_concurrency import Concurrency


def statuses(app: Flask, path: str = "/", times: int = 3, **options: Any) -> list[int]:
    answers = []
    for _ in range(times):
        with app.test_client().get(path, **options) as response:
            answers.append(response.status_code)
    return answers


def allowed(app: Flask, origin: str) -> str | None:
    with app.test_client().get("/", headers={"Origin": origin}) as response:
        return response.headers.get("Access-Control-Allow-Origin")


def shop() -> Blueprint:
    blueprint = Blueprint("shop", __name__)
    blueprint.get("/")(lambda: "hello")
    return blueprint


@pytest.mark.parametrize("before", [True, False])
def test_each_app_keeps_what_its_factory_declared(before: bool) -> None:
    """Whether it declares before it registers the blueprint, or after."""
    blueprint, concurrency = shop(), Concurrency(store="memory://")

    def create_app(name: str, rate: str, origin: str) -> Flask:
        app = Flask(name)
        concurrency.init_app(app)
        if not before:
            app.register_blueprint(blueprint)
        concurrency.limit(rate)(blueprint)
        concurrency.cors(origins=origin)(blueprint)
        if before:
            app.register_blueprint(blueprint)
        return app

    one = create_app("one", "1/hour", "https://a.example")
    two = create_app("two", "2/hour", "https://b.example")
    assert statuses(one) == [200, 429, 429]
    assert statuses(two) == [200, 200, 429]
    assert [allowed(one, f"https://{name}.example") for name in "ab"] == ["https://a.example", None]
    assert [allowed(two, f"https://{name}.example") for name in "ab"] == [None, "https://b.example"]


def test_a_factory_that_exempts_exempts_for_its_own_app() -> None:
    """It would free every later app in silence."""
    blueprint, concurrency = shop(), Concurrency(store="memory://", default_limits="1/hour")

    def create_app(name: str, exempt: bool) -> Flask:
        app = Flask(name)
        concurrency.init_app(app)
        if exempt:
            concurrency.exempt(blueprint)
        app.register_blueprint(blueprint)
        return app

    free, limited = create_app("free", True), create_app("limited", False)
    assert statuses(free) == [200, 200, 200]
    assert statuses(limited) == [200, 429, 429]


def test_many_declarations_of_one_line_hold_together() -> None:
    """A loop declares several limits; the next app's loop replaces them all."""
    blueprint, concurrency = shop(), Concurrency(store="memory://")

    def create_app(name: str, *rates: str) -> Flask:
        app = Flask(name)
        concurrency.init_app(app)
        for rate in rates:
            concurrency.limit(rate)(blueprint)
        app.register_blueprint(blueprint)
        return app

    apps = [create_app("one", "9/hour", "1/minute"), create_app("two", "8/hour", "2/minute")]
    fields = [app.test_client().get("/").headers["RateLimit-Policy"] for app in apps]
    assert [field.count("q=") for field in fields] == [2, 2]
    assert "q=1;" in fields[0]
    assert "q=2;" in fields[1]


def test_a_limit_that_one_call_declared_holds_in_every_app() -> None:
    """A helper function of a module is called once; no app is without its limit."""
    blueprint, concurrency = shop(), Concurrency(store="memory://")
    concurrency.limit("1/hour")(blueprint)
    for name in ("one", "two"):
        app = Flask(name)
        concurrency.init_app(app)
        app.register_blueprint(blueprint)
        assert statuses(app) == [200, 429, 429]


@pytest.mark.parametrize("on", ["blueprint", "view", "class"])
def test_a_hundred_factories_leave_one_limit(on: str) -> None:
    """The same declaration counts once, and header fields do not grow."""
    concurrency = Concurrency(store="memory://")

    class Shop(MethodView):
        def get(self) -> str:
            return "hello"

    def index() -> str:
        return "hello"

    blueprint = shop()

    def create_app() -> Flask:
        app = Flask("app")
        concurrency.init_app(app)
        limit = concurrency.limit("5/minute")
        if on == "blueprint":
            limit(blueprint)
            app.register_blueprint(blueprint)
        elif on == "view":
            app.add_url_rule("/", view_func=limit(index))
        else:
            app.add_url_rule("/", view_func=limit(Shop).as_view("shop"))
        return app

    apps = [create_app() for _ in range(100)]
    for app in (apps[0], apps[-1]):
        assert app.test_client().get("/").headers["RateLimit-Policy"].count("q=") == 1


def test_one_function_serves_three_routes_with_three_declarations() -> None:
    """Each use is its own: an exemption of one is none of the others."""
    app = Flask(__name__)
    concurrency = Concurrency(app, store="memory://")

    def price() -> str:
        return "1"

    app.add_url_rule("/admin", "admin", concurrency.exempt(price))
    app.add_url_rule("/pro", "pro", concurrency.limit("2/hour")(price))
    app.add_url_rule("/free", "free", concurrency.limit("1/hour")(price))
    app.add_url_rule("/open", "open", price)
    assert statuses(app, "/admin") == [200, 200, 200]
    assert statuses(app, "/pro") == [200, 200, 429]
    assert statuses(app, "/free") == [200, 429, 429]
    assert statuses(app, "/open") == [200, 200, 200]


def test_a_decorator_above_the_route_still_applies() -> None:
    """In any order, several of them, and with one below."""
    app = Flask(__name__)
    concurrency = Concurrency(app, store="memory://")

    @concurrency.limit("3/hour")
    @concurrency.limit("2/minute")
    @app.get("/")
    @concurrency.limit("9/day")
    def index() -> str:
        return "hello"

    response = app.test_client().get("/")
    assert response.headers["RateLimit-Policy"].count("q=") == 3


def test_the_newest_of_one_place_wins() -> None:
    """A policy or a deadline can be only one: the decorator on top."""
    app = Flask(__name__)
    concurrency = Concurrency(app)

    @app.get("/")
    @concurrency.cors(origins="https://new.example")
    @concurrency.cors(origins="https://old.example")
    def index() -> str:
        return "hello"

    assert allowed(app, "https://new.example") == "https://new.example"
    assert allowed(app, "https://old.example") is None


def test_a_decorated_function_is_what_it_was() -> None:
    """Its name, signature, defaults, closure and kind, for tools that look at them."""
    concurrency = Concurrency()
    greeting = "hello"

    async def greet(name: str, *, loud: bool = False) -> str:
        """Greet."""
        return f"{greeting} {name}"

    limited = concurrency.limit("5/minute")(greet)
    assert inspect.iscoroutinefunction(limited)
    assert inspect.signature(limited) == inspect.signature(greet)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__"):
        assert getattr(limited, name) == getattr(greet, name)


def test_a_bound_method_may_be_a_view() -> None:
    """It is copied with what it is bound to."""
    app = Flask(__name__)
    concurrency = Concurrency(app, store="memory://")

    class Shop:
        def index(self) -> str:
            return "hello"

    view: Callable[[], str] = concurrency.limit("1/hour")(Shop().index)
    app.add_url_rule("/", "index", view)
    assert statuses(app) == [200, 429, 429]


@pytest.mark.parametrize("static", [False, True])
def test_static_files_are_counted_only_if_that_is_said(static: bool, tmp_path: Any) -> None:
    """A page would spend its own quota on its pictures."""
    (tmp_path / "a.css").write_text("a {}")
    app = Flask(__name__, static_folder=str(tmp_path), static_url_path="/static")
    concurrency = Concurrency(app, store="memory://", app_limits="3/hour", default_limits="2/hour")
    blueprint = Blueprint(
        "shop", __name__, static_folder=str(tmp_path), static_url_path="/shop/static"
    )
    concurrency.limit("1/hour", static=static)(blueprint)
    app.register_blueprint(blueprint)
    assert statuses(app, "/static/a.css", 5) == [200] * 5
    expected = [200, 429, 429] if static else [200] * 3
    assert statuses(app, "/shop/static/a.css") == expected
