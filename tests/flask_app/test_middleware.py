"""What the middleware adds to a response belongs to that response alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from blinker import NamedSignal
from flask import Flask, Response
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import TestResponse

from flask_concurrency import Concurrency, InFlight
from flask_concurrency.flask_app.refusal_observers import SENT_FOR_A_REFUSAL


def test_a_response_the_app_keeps_stays_as_it_was() -> None:
    """A response sent twice, as from a cache, tells each client its own count, once."""
    app = Flask(__name__)
    concurrency = Concurrency(app)
    kept = Response("kept")
    app.get("/")(concurrency.limit("5/minute")(lambda: kept))
    told = [app.test_client().get("/").headers.getlist("RateLimit") for _ in range(2)]
    assert [field.partition("r=")[2][0] for [field] in told] == ["4", "3"]
    assert "RateLimit" not in kept.headers


def test_a_handlers_own_retry_after_stands() -> None:
    """An app that answers refusals itself knows better when to come back."""
    app = Flask(__name__)
    concurrency = Concurrency(app)
    app.get("/")(concurrency.limit("1/minute")(lambda: "in"))

    @app.errorhandler(429)
    def busy(error: object) -> tuple[str, int, dict[str, str]]:
        return "later", 429, {"retry-after": "7"}

    answers = [app.test_client().get("/") for _ in range(2)]
    assert answers[1].status_code == 429
    assert answers[1].headers.getlist("Retry-After") == ["7"]


def test_a_request_made_by_hand_gives_its_place_back() -> None:
    """Also the first one, which is when the app starts to look out for such requests."""
    app = Flask(__name__)
    concurrency = Concurrency(app)
    app.get("/")(concurrency.limit(InFlight(1))(lambda: "in"))
    for _ in range(3):
        with app.test_request_context("/"):
            assert app.preprocess_request() is None
    assert app.test_client().get("/").status_code == 200


class Counting:
    """A WSGI app that counts who gets past the middleware."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.met = 0
        self.dispatch = app.full_dispatch_request
        app.full_dispatch_request = self  # type: ignore[method-assign]

    def __call__(self, *args: object) -> Response:
        self.met += 1
        return self.dispatch(*args)


def refused_app(**limit: Any) -> tuple[Flask, Concurrency, Counting]:
    app = Flask(__name__)
    concurrency = Concurrency(app)
    app.get("/")(concurrency.limit("1/hour", **limit)(lambda: "in"))
    return app, concurrency, Counting(app)


def answers(app: Flask, times: int, **options: Any) -> list[TestResponse]:
    return [app.test_client().get("/", **options) for _ in range(times)]


def test_a_refusal_is_repeated_before_flask() -> None:
    """Whoever goes on asking costs next to nothing, and hears the same."""
    app, _, counting = refused_app()
    _, asked, *repeated = answers(app, 9)
    assert counting.met == 2
    for response in repeated:
        assert response.status_code == 429
        assert response.json == {**asked.json, "detail": response.json["detail"]}  # type: ignore[dict-item, index]
        assert response.headers["RateLimit-Policy"] == asked.headers["RateLimit-Policy"]
        assert int(response.headers["Retry-After"]) <= int(asked.headers["Retry-After"])
    assert app.test_client().get("/", headers={"Accept": "text/html"}).mimetype == "text/html"
    others = answers(app, 2, environ_base={"REMOTE_ADDR": "192.0.2.9"})
    assert [response.status_code for response in others] == [200, 429]


LISTENERS: list[Callable[[Flask], object]] = [
    lambda app: app.after_request(lambda response: response),
    lambda app: app.teardown_request(lambda error: None),
    lambda app: app.teardown_appcontext(lambda error: None),
    lambda app: app.errorhandler(429)(lambda error: ("mine", 429)),
    lambda app: app.errorhandler(HTTPException)(lambda error: ("mine", 429)),
    lambda app: app.errorhandler(Exception)(lambda error: ("mine", 429)),
]


@pytest.mark.parametrize("listen", LISTENERS)
def test_what_the_app_would_see_it_sees(listen: Callable[[Flask], object]) -> None:
    """An app with a hook or handler of its own meets every refusal."""
    app, _, counting = refused_app()
    listen(app)
    answers(app, 5)
    assert counting.met == 5


@pytest.mark.parametrize("signal", SENT_FOR_A_REFUSAL, ids=lambda signal: signal.name)
@pytest.mark.parametrize(("own", "met"), [(True, 5), (False, 2)])
def test_a_signal_is_heard_by_its_own_app(own: bool, met: int, signal: NamedSignal) -> None:
    """Who listens to another app of the process hears nothing of this one, and costs nothing."""
    app, _, counting = refused_app()

    def listen(sender: Flask, **told: object) -> None:
        pass

    with signal.connected_to(listen, sender=app if own else Flask("another")):
        answers(app, 5)
    assert counting.met == met


OPTIONS: list[dict[str, Any]] = [
    {"key": lambda: "k"},
    {"cost": lambda: 1},
    {"exempt_when": lambda: False},
    {"charge_when": lambda response: True},
    {"name": "shared"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_what_may_change_its_mind_is_asked(options: dict[str, Any]) -> None:
    """A refusal that depends on more than client and time is not repeated unasked."""
    app, _, counting = refused_app(**options)
    answers(app, 5)
    assert counting.met == 5


def test_pages_of_other_origins_are_answered_by_the_app() -> None:
    """The middleware does not know which origins may read what."""
    app, _, counting = refused_app()
    answers(app, 5, headers={"Origin": "https://shop.example"})
    assert counting.met == 5


def test_middleware_that_knows_the_client_better_is_asked() -> None:
    """Behind a proxy all clients have one address until ``ProxyFix`` has looked."""
    app = Flask(__name__)
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    concurrency = Concurrency(app)
    app.get("/")(concurrency.limit("1/hour")(lambda: "in"))
    for client in ("192.0.2.1", "192.0.2.2"):
        forwarded = {"X-Forwarded-For": client}
        told = [response.status_code for response in answers(app, 3, headers=forwarded)]
        assert told == [200, 429, 429]
