"""Limits as a Flask developer declares them, asked through real requests."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ClassVar

import pytest
from flask import Blueprint, Flask, Response
from flask.views import MethodView, View

from flask_concurrency import Concurrency, ConfigurationError, InFlight, Rate
from flask_concurrency.keys import header
from flask_requests import policies, statuses

App = Callable[..., tuple[Flask, Concurrency]]


def test_the_tutorials_limits_stack(make: App) -> None:
    """The route's limit adds to the defaults: the sixth is refused, and costs the hour nothing."""
    app, concurrency = make(default_limits="100/day; 10/hour")

    @app.get("/")
    @concurrency.limit("5/minute")
    def index() -> str:
        return "Hello, World!"

    assert statuses(app, "/", 7) == [200] * 5 + [429] * 2
    assert '"default:10/hour";r=5;' in app.test_client().get("/").headers["RateLimit"]


@pytest.mark.parametrize("outermost", [True, False])
def test_the_order_of_decorators_does_not_matter(make: App, outermost: bool) -> None:
    """Above or below the route decorator, the limit holds."""
    app, concurrency = make()

    def view() -> str:
        return ""

    if outermost:
        concurrency.limit("1/minute")(app.get("/")(view))
    else:
        app.get("/")(concurrency.limit("1/minute")(view))
    assert statuses(app, "/", 2) == [200, 429]


def test_a_limit_shows_through_other_decorators(make: App) -> None:
    """What ``functools.wraps`` wraps is still the limited view."""
    app, concurrency = make()

    def shouting(view: Callable[[], str]) -> Callable[[], str]:
        @functools.wraps(view)
        def shout() -> str:
            return view().upper()

        return shout

    @app.get("/")
    @shouting
    @concurrency.limit("1/minute")
    def index() -> str:
        return "hello"

    assert statuses(app, "/", 2) == [200, 429]


def test_stacked_decorators_add_up_in_reading_order(make: App) -> None:
    """Two decorators are two limits, the upper one first."""
    app, concurrency = make()

    @app.get("/")
    @concurrency.limit("9/minute")
    @concurrency.limit("1/second")
    def index() -> str:
        return ""

    assert policies(app, "/") == '"route:9/minute";q=9;w=60, "route:1/second";q=1;w=1'


def test_blueprints_hand_their_limits_down(make: App) -> None:
    """A nested blueprint inherits; each route still counts for itself."""
    app, concurrency = make()
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    concurrency.limit("2/minute")(outer)
    concurrency.limit("9/hour")(inner)
    inner.get("/a", endpoint="a")(lambda: "")
    inner.get("/b", endpoint="b")(lambda: "")
    outer.register_blueprint(inner)
    app.register_blueprint(outer)

    assert policies(app, "/a") == '"blueprint:2/minute";q=2;w=60, "blueprint:9/hour";q=9;w=3600'
    assert statuses(app, "/a", 2) == [200, 429]
    assert statuses(app, "/b", 3) == [200, 200, 429]


def test_what_is_narrower_replaces_what_is_wider(make: App) -> None:
    """An inner blueprint its outer one's, a method its class's; what stands beside it stays."""
    app, concurrency = make()
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    concurrency.limit("9/day")(outer)
    concurrency.limit("7/day", replace=True)(inner)
    concurrency.limit("8/day")(inner)

    @concurrency.limit("9/day")
    class Items(MethodView):
        @concurrency.limit("8/day")
        @concurrency.limit("7/day", replace=True)
        def post(self) -> str:
            return ""

    inner.get("/page")(lambda: "")
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    app.add_url_rule("/items", view_func=Items.as_view("items"))
    page, items = policies(app, "/page"), policies(app, "/items", method="POST")
    assert page.replace("blueprint:", "route:") == items
    assert items == '"route:8/day";q=8;w=86400, "route:7/day";q=7;w=86400'


def test_views_classes_and_their_methods_carry_limits(make: App) -> None:
    """On the class for all methods, on a method for that one, in ``decorators`` as Flask has it."""
    app, concurrency = make()

    @concurrency.limit("9/minute")
    class Items(MethodView):
        decorators: ClassVar = [concurrency.limit("8/minute")]

        def get(self) -> str:
            return ""

        @concurrency.limit("1/minute")
        def post(self) -> str:
            return ""

    app.add_url_rule("/items", view_func=Items.as_view("items"))
    assert policies(app, "/items") == '"route:9/minute";q=9;w=60, "route:8/minute";q=8;w=60'
    assert statuses(app, "/items", 2, method="POST") == [200, 429]
    assert statuses(app, "/items", 2) == [200, 200]


def test_a_class_answers_head_with_what_limits_get(make: App) -> None:
    """To ask without the body is not a way past the limit: Flask runs the same method."""
    app, concurrency = make()

    class Items(MethodView):
        @concurrency.limit("2/minute")
        def get(self) -> str:
            return ""

    app.add_url_rule("/", view_func=Items.as_view("items"))
    assert statuses(app, "/", 1) == [200]
    assert statuses(app, "/", 2, method="HEAD") == [200, 429]


def test_each_method_of_a_class_has_a_count_of_its_own(make: App) -> None:
    """A client that has read as often as it may can still write."""
    app, concurrency = make()

    class Items(MethodView):
        @concurrency.limit("1/minute")
        def get(self) -> str:
            return ""

        @concurrency.limit("1/minute")
        def post(self) -> str:
            return ""

    app.add_url_rule("/", view_func=Items.as_view("items"))
    assert statuses(app, "/", 2) == [200, 429]
    assert statuses(app, "/", 2, method="POST") == [200, 429]


def test_the_one_method_of_a_plain_class_carries_limits(make: App) -> None:
    """Flask calls ``dispatch_request`` for every HTTP method."""
    app, concurrency = make()

    class Page(View):
        @concurrency.limit("1/minute")
        def dispatch_request(self) -> str:
            return ""

    app.add_url_rule("/", view_func=Page.as_view("page"))
    assert statuses(app, "/", 2) == [200, 429]


def test_one_concurrency_serves_many_apps() -> None:
    """Each app has its own counts, settings and declarations of the same views."""
    concurrency = Concurrency(default_limits="1/day")
    apps = [Flask("one"), Flask("two")]
    apps[1].config["CONCURRENCY_DEFAULT_LIMITS"] = "2/day"
    for app in apps:
        app.get("/")(lambda: "")
        concurrency.init_app(app)
    assert statuses(apps[0], "/", 2) == [200, 429]
    assert statuses(apps[1], "/", 3) == [200, 200, 429]


def test_two_extensions_do_not_read_each_others_marks() -> None:
    """A view shared by two apps obeys the extension of the app that serves it."""
    first, second = Concurrency(), Concurrency()
    view = first.limit("1/day")(second.limit("2/day")(lambda: ""))
    apps = [Flask("one"), Flask("two")]
    for app, concurrency in zip(apps, (first, second), strict=True):
        concurrency.init_app(app)
        app.get("/")(view)
    assert statuses(apps[0], "/", 3) == [200, 429, 429]
    assert statuses(apps[1], "/", 3) == [200, 200, 429]


def test_a_disabled_extension_lets_everybody_in() -> None:
    """``CONCURRENCY_ENABLED = False`` turns limits off, and nothing else."""
    app = Flask(__name__)
    app.config["CONCURRENCY_ENABLED"] = False
    Concurrency(app, app_limits="0/day")
    app.get("/")(lambda: "")
    assert statuses(app, "/", 2) == [200, 200]


MISTAKES: list[tuple[Callable[[Concurrency], object], str]] = [
    (lambda c: c.limit(), "needs a limit"),
    (lambda c: c.limit("10 per fortnight"), "unknown unit 'fortnight'"),
    (lambda c: c.limit("5/minute", key="address"), "key='address'"),  # type: ignore[arg-type]
    (lambda c: c.limit("5/minute", cost=-1), "cost: -1"),
    (lambda c: c.limit("5/minute", methods=["get"]), r"methods=\['get'\]"),
    (lambda c: c.limit("5/minute", methods=[]), r"methods=\[\]"),
    (lambda c: c.limit("5/minute", exempt_when=True), "exempt_when=True"),  # type: ignore[arg-type]
    (lambda c: c.limit("5/minute", name=""), "name=''"),
    (lambda c: c.limit("5/minute", name='né"w'), "printable ASCII"),
    (lambda c: c.limit("5/minute", name="a\r\nSet-Cookie: b"), "printable ASCII"),
    (lambda c: c.limit("5/minute", name="x" * 65), "1 to 64"),
    (lambda c: c.limit("5/minute")(7), "7 cannot carry"),
    (lambda c: c.limit("5/minute")("".join), "takes no attributes"),
    (lambda c: c.limit("5/minute")(Flask("x")), "default_limits="),
    (lambda c: c.limit(InFlight(0.5)), "InFlight"),  # type: ignore[arg-type]
    (lambda c: c.limit(Rate("1/day"), 3), "3 is not a limit"),  # type: ignore[arg-type]
    (lambda c: c.exempt(None), "None cannot carry"),
    (lambda c: Concurrency(key="ip"), "key='ip'"),  # type: ignore[arg-type]
    (lambda c: Concurrency(default_limits="often"), "'often' is not a limit"),
    (lambda c: Concurrency(Flask("x"), store="mongodb://"), "mongodb"),
    (lambda c: header(""), "header"),
]


@pytest.mark.parametrize(("mistake", "told"), MISTAKES)
def test_a_mistake_fails_where_it_is_written(
    mistake: Callable[[Concurrency], object], told: str
) -> None:
    """At definition, not in a request, and with the value in the message."""
    with pytest.raises(ConfigurationError, match=told):
        mistake(Concurrency())


def test_an_app_is_served_once() -> None:
    """A second extension would count everything twice."""
    app = Flask("shop")
    Concurrency(app)
    with pytest.raises(ConfigurationError, match="'shop' is served"):
        Concurrency(app)


def test_a_view_may_still_answer_anything(make: App) -> None:
    """Fields are added to whatever the view returns, streams and errors included."""
    app, _ = make(default_limits="9/day")

    @app.get("/stream")
    def stream() -> Response:
        return Response(iter(["a", "b"]))

    @app.get("/fails")
    def fails() -> str:
        raise ZeroDivisionError

    app.config["PROPAGATE_EXCEPTIONS"] = False
    for path, status in (("/stream", 200), ("/fails", 500)):
        response = app.test_client().get(path)
        assert (response.status_code, "RateLimit" in response.headers) == (status, True)
