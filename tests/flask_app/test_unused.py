"""A decorated function that no request can meet is reported, not silently unlimited."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView, View

from flask_concurrency import Concurrency


def warned(caplog: pytest.LogCaptureFixture, app: Flask) -> list[str]:
    """What the first request of an app logs."""
    with caplog.at_level(logging.WARNING, logger="flask_concurrency.limits"):
        app.test_client().get("/")
    return caplog.messages


def hiding(view: Callable[[], str]) -> Callable[[], str]:
    def hidden() -> str:
        return view()

    return hidden


def showing(view: Callable[[], str]) -> Callable[[], str]:
    @wraps(view)
    def shown() -> str:
        return view()

    return shown


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


@pytest.fixture
def concurrency(app: Flask) -> Concurrency:
    return Concurrency(app)


def test_a_decorator_without_wraps_is_reported(
    app: Flask, concurrency: Concurrency, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the function, its file and line, and the remedy."""

    @app.get("/")
    @hiding
    @concurrency.limit("5/minute")
    def index() -> str:
        return "never limited"

    (message,) = warned(caplog, app)
    assert ".index' (" in message
    assert f"{__file__}:" in message
    assert "functools.wraps" in message


def test_a_function_that_was_never_registered_is_reported(
    app: Flask, concurrency: Concurrency, caplog: pytest.LogCaptureFixture
) -> None:
    """``exempt`` and ``cors`` on it count as well: what they say applies to nothing."""

    @concurrency.exempt
    def orphan() -> str:
        return "nowhere"

    (message,) = warned(caplog, app)
    assert "orphan" in message


def test_an_unregistered_blueprint_is_reported(
    app: Flask, concurrency: Concurrency, caplog: pytest.LogCaptureFixture
) -> None:
    """All its routes would be missing, and their limits with them."""
    admin = concurrency.limit("5/minute")(Blueprint("admin", "shop.admin"))
    (message,) = warned(caplog, app)
    assert "blueprint 'admin' (module shop.admin)" in message
    assert "register_blueprint" in message
    del admin


def test_an_unregistered_class_is_reported(
    app: Flask, concurrency: Concurrency, caplog: pytest.LogCaptureFixture
) -> None:
    """The remedy shows how a class becomes a view."""

    @concurrency.limit("5/minute")
    class Report(MethodView): ...

    (message,) = warned(caplog, app)
    assert "Report.as_view(" in message


def test_one_decorator_on_two_functions_reports_the_hidden_one(
    app: Flask, concurrency: Concurrency, caplog: pytest.LogCaptureFixture
) -> None:
    """What reached a route through the first function does not vouch for the second."""
    limited = concurrency.limit("5/minute")

    @app.get("/")
    @limited
    def seen() -> str:
        return "limited"

    @app.get("/hidden")
    @hiding
    @limited
    def unseen() -> str:
        return "not limited"

    (message,) = warned(caplog, app)
    assert ".unseen'" in message


def test_what_another_extension_decorated_is_reported(
    app: Flask, concurrency: Concurrency, caplog: pytest.LogCaptureFixture
) -> None:
    """One that serves no app: two were made, and the app knows of the other."""
    stray = Concurrency()

    @app.get("/")
    @stray.limit("5/minute")
    def index() -> str:
        return "never limited"

    (message,) = warned(caplog, app)
    assert message.startswith("Function ")
    assert "a Concurrency that serves no app" in message
    assert "init_app()" in message
    assert len(warned(caplog, app)) == 1


def test_what_another_extension_decorated_for_its_own_app_is_not_reported(
    app: Flask, concurrency: Concurrency, caplog: pytest.LogCaptureFixture
) -> None:
    """A view may be a route of two apps with an extension each."""
    other = Concurrency(Flask("other"))
    view = other.limit("5/minute")(lambda: "")
    app.get("/")(view)
    assert warned(caplog, app) == []


def test_each_is_reported_once(
    app: Flask, concurrency: Concurrency, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither another request nor another app repeats it."""

    @concurrency.limit("5/minute")
    def orphan() -> str:
        return "nowhere"

    other = Flask("other")
    concurrency.init_app(other)
    assert len(warned(caplog, app)) == 1
    assert len(warned(caplog, app)) == 1
    assert len(warned(caplog, other)) == 1


def test_what_is_gone_is_not_reported(
    app: Flask, concurrency: Concurrency, caplog: pytest.LogCaptureFixture
) -> None:
    """Remembering a function does not keep it alive."""

    def make() -> None:
        @concurrency.limit("5/minute")
        def orphan() -> str:
            return "nowhere"

    make()
    gc.collect()
    assert warned(caplog, app) == []


def any_order(app: Flask, concurrency: Concurrency) -> object:
    @app.get("/")
    @showing
    @concurrency.limit("5/minute")
    def index() -> str:
        return ""

    return concurrency.limit("9/hour")(index)


def several_endpoints(app: Flask, concurrency: Concurrency) -> object:
    @concurrency.limit("5/minute")
    def page() -> str:
        return ""

    app.add_url_rule("/", "one", page)
    app.add_url_rule("/two", "two", page)
    return page


def nested_blueprint(app: Flask, concurrency: Concurrency) -> object:
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    concurrency.limit("5/minute")(inner)
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    return inner


def class_methods(app: Flask, concurrency: Concurrency) -> object:
    @concurrency.limit("9/hour")
    class Base(MethodView):
        @concurrency.limit("5/minute")
        def get(self) -> str:
            return ""

    class Report(Base):
        decorators: ClassVar[list[Callable[..., Any]]] = [concurrency.limit("5/minute")]

        @concurrency.limit("1/minute")
        def post(self) -> str:
            return ""

    app.add_url_rule("/", view_func=Report.as_view("report"))
    return Report


def plain_view_class(app: Flask, concurrency: Concurrency) -> object:
    @concurrency.limit("9/hour")
    class Page(View):
        def dispatch_request(self) -> str:
            return ""

    app.add_url_rule("/", view_func=Page.as_view("page"))
    return Page


def another_app(app: Flask, concurrency: Concurrency) -> object:
    other = Flask("other")
    concurrency.init_app(other)
    blueprint = concurrency.limit("5/minute")(Blueprint("admin", __name__))
    other.register_blueprint(blueprint)
    return other


@pytest.mark.parametrize(
    "build",
    [
        any_order,
        several_endpoints,
        nested_blueprint,
        class_methods,
        plain_view_class,
        another_app,
    ],
)
def test_what_a_request_can_meet_is_not_reported(
    build: Callable[[Flask, Concurrency], Any],
    app: Flask,
    concurrency: Concurrency,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However it came to a route, of whichever app the extension serves."""
    kept = build(app, concurrency)
    assert warned(caplog, app) == []
    assert kept is not None
