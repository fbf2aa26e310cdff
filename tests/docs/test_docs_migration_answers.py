"""What replaces Flask-Limiter's options gives the same answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, request
from flask.views import MethodView
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from flask_concurrency import Concurrency, QuotaExceeded

Pair = Callable[[Flask, Any], None]


def make_theirs(app: Flask, **options: Any) -> Limiter:
    """Flask-Limiter, counting in this process."""
    return Limiter(get_remote_address, app=app, storage_uri="memory://", **options)


def make_ours(app: Flask, **options: Any) -> Concurrency:
    """Ours, counting in this process."""
    return Concurrency(app, store="memory://", **options)


def with_route(app: Flask, view: Callable[..., Any], limit: Any = None) -> None:
    app.add_url_rule("/", "index", view if limit is None else limit(view), methods=["GET", "POST"])


def hello() -> str:
    return "Hello, World!"


def key_of_its_own(app: Flask, ext: Any) -> None:
    key = {"key_func" if isinstance(ext, Limiter) else "key": lambda: request.args.get("k", "none")}
    with_route(app, lambda: "in", ext.limit("1/hour", **key))


def methods(app: Flask, ext: Any) -> None:
    with_route(app, lambda: "in", ext.limit("1/hour", methods=["POST"]))


def each_method(app: Flask, ext: Any) -> None:
    if isinstance(ext, Limiter):
        with_route(app, lambda: "in", ext.limit("1/hour", per_method=True))
    else:
        post = ext.limit("1/hour", methods=["POST"])
        with_route(app, post(lambda: "in"), ext.limit("1/hour", methods=["GET"]))


def exempt_when(app: Flask, ext: Any) -> None:
    exempt = ext.limit("1/hour", exempt_when=lambda: request.method == "POST")
    with_route(app, lambda: "in", exempt)


def cost(app: Flask, ext: Any) -> None:
    with_route(app, lambda: "in", ext.limit("4/hour", cost=lambda: 2))


def charged_by_the_response(app: Flask, ext: Any) -> None:
    option = "deduct_when" if isinstance(ext, Limiter) else "charge_when"
    limit = ext.limit("1/hour", **{option: lambda response: response.status_code == 401})
    with_route(app, lambda: ("wrong", 401) if request.method == "POST" else "in", limit)


def shared(app: Flask, ext: Any) -> None:
    if isinstance(ext, Limiter):
        limit = ext.shared_limit("2/hour", scope="both")
    else:
        limit = ext.limit("2/hour", name="both")
    with_route(app, lambda: "in", limit)
    app.add_url_rule("/other", "other", limit(lambda: "other"))


def chosen_by_a_function(app: Flask, ext: Any) -> None:
    with_route(app, lambda: "in", ext.limit(lambda: "2/hour"))


def several(app: Flask, ext: Any) -> None:
    with_route(app, lambda: "in", ext.limit("5/hour; 2/minute"))


def blueprint(app: Flask, ext: Any) -> None:
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    ext.limit("1/hour")(outer)
    inner.add_url_rule("/other", "other", lambda: "other")
    outer.add_url_rule("/", "index", lambda: "in", methods=["GET", "POST"])
    outer.register_blueprint(inner)
    app.register_blueprint(outer)


def class_based(app: Flask, ext: Any) -> None:
    class View(MethodView):
        decorators = [ext.limit("2/hour")]  # noqa: RUF012

        def get(self) -> str:
            return "in"

        post = get

    app.add_url_rule("/", view_func=View.as_view("index"))


def block(app: Flask, ext: Any) -> None:
    name = {} if isinstance(ext, Limiter) else {"name": "block"}

    def view() -> str:
        with ext.limit("2/hour", **name):
            return "in"

    with_route(app, view)


PAIRS = [
    key_of_its_own,
    methods,
    each_method,
    exempt_when,
    cost,
    charged_by_the_response,
    shared,
    chosen_by_a_function,
    several,
    blueprint,
    class_based,
    block,
]
ASKED = ["GET /", "GET /", "POST /", "POST /", "GET /?k=2", "GET /other", "GET /other", "GET /"]


@pytest.mark.parametrize("declare", PAIRS, ids=lambda pair: pair.__name__)
def test_what_takes_its_place_gives_the_same_answers(declare: Pair) -> None:
    """The same requests, limited by the one and by the other."""
    answers = []
    for make in (make_theirs, make_ours):
        app = Flask(__name__)
        declare(app, make(app))
        client = app.test_client()
        asked = [question.split() for question in ASKED]
        answers.append([client.open(path, method=method).status_code for method, path in asked])

    assert answers[0] == answers[1]
    assert 429 in answers[0]


def test_a_default_that_exempts_some_is_a_function() -> None:
    """It gives ``None`` for clients that are exempt."""
    answers = []
    for make, options_given in (
        (make_theirs, {"default_limits": ["1/hour"], "default_limits_exempt_when": trusted}),
        (make_ours, {"default_limits": lambda: None if trusted() else "1/hour"}),
    ):
        app = Flask(__name__)
        make(app, **options_given)
        app.add_url_rule("/", "index", hello)
        client = app.test_client()
        answers.append([client.get(path).status_code for path in ["/?trust"] * 3 + ["/"] * 2])

    assert answers[0] == answers[1] == [200, 200, 200, 200, 429]


def trusted() -> bool:
    return "trust" in request.args


def test_what_a_callback_did_an_error_handler_does() -> None:
    """The answer that replaces a refusal, and a message of one's own."""
    theirs = Flask("theirs")
    make_theirs(theirs, default_limits=["1/hour"], on_breach=lambda _: theirs.response_class("no"))
    ours = Flask("ours")
    make_ours(ours, default_limits="1/hour")

    @ours.errorhandler(QuotaExceeded)
    def no(error: QuotaExceeded) -> str:
        return "no"

    answers = []
    for app in (theirs, ours):
        app.add_url_rule("/", "index", hello)
        client = app.test_client()
        answers.append(
            [(answer.text, answer.status_code) for answer in (client.get("/"), client.get("/"))]
        )

    assert answers[0] == answers[1] == [("Hello, World!", 200), ("no", 200)]


def test_an_exempt_view_is_exempt_from_everything() -> None:
    """Also from the limits of the whole app."""
    app = Flask(__name__)
    concurrency = make_ours(app, app_limits="1/hour", default_limits="1/hour")
    app.add_url_rule("/", "index", concurrency.exempt(hello))
    client = app.test_client()

    assert [client.get("/").status_code for _ in range(4)] == [200] * 4


def test_one_app_may_have_both_while_it_moves() -> None:
    """Each limits the routes that it was given."""
    app = Flask(__name__)
    limiter, concurrency = make_theirs(app), make_ours(app)
    app.add_url_rule("/theirs", "theirs", limiter.limit("1/hour")(hello))
    app.add_url_rule("/ours", "ours", concurrency.limit("2/hour")(lambda: "in"))
    client = app.test_client()

    assert [client.get("/theirs").status_code for _ in range(2)] == [200, 429]
    assert [client.get("/ours").status_code for _ in range(3)] == [200, 200, 429]
