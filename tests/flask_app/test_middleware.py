"""What the middleware adds to a response belongs to that response alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from blinker import NamedSignal
from flask import Flask, Request, Response
from flask_restx import Api
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_accept_header
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import EnvironBuilder, TestResponse

from flask_concurrency import Concurrency, InFlight
from flask_concurrency.flask_app.http import responses
from flask_concurrency.flask_app.refusal_observers import SENT_FOR_A_REFUSAL


def test_a_response_the_app_keeps_stays_as_it_was() -> None:
    """A response sent twice, as from a cache, shows each client its own count, once."""
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
        open_session = app.session_interface.open_session

        def counted(*args: Any) -> Any:
            self.met += 1
            return open_session(*args)

        # Flask calls it in each request, before anything that can be hooked.
        app.session_interface.open_session = counted  # type: ignore[method-assign, assignment]


def refused_app(**limit: Any) -> tuple[Flask, Concurrency, Counting]:
    app = Flask(__name__)
    concurrency = Concurrency(app)
    app.get("/")(concurrency.limit("1/hour", **limit)(lambda: "in"))
    return app, concurrency, Counting(app)


def answers(app: Flask, times: int, **options: Any) -> list[TestResponse]:
    return [app.test_client().get("/", **options) for _ in range(times)]


def test_a_refusal_is_repeated_before_flask() -> None:
    """A client that goes on asking costs next to nothing, and gets the same answer."""
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
    """A receiver of another app of the process gets nothing of this one, and costs nothing."""
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


OVERRIDES: list[Callable[[Flask], object]] = [
    lambda app: setattr(app, "handle_user_exception", app.handle_user_exception),
    lambda app: setattr(app, "process_response", app.process_response),
    lambda app: setattr(app, "create_url_adapter", app.create_url_adapter),
    lambda app: setattr(app, "request_class", type("Mine", (Request,), {})),
    lambda app: setattr(app, "response_class", type("Mine", (Response,), {})),
    lambda app: Api(app),
]


@pytest.mark.parametrize("override", OVERRIDES)
def test_an_app_that_answers_otherwise_than_flask_answers(
    override: Callable[[Flask], object],
) -> None:
    """A method or class of its own may decide the route, the client or the answer."""
    app, _, counting = refused_app()
    override(app)
    answers(app, 5)
    assert counting.met == 5


def test_an_app_class_of_its_own_answers() -> None:
    """A subclass overrides in the usual way."""

    class Shop(Flask):
        def make_response(self, rv: Any) -> Response:
            response = super().make_response(rv)
            response.headers["Shop"] = "open"
            return response

    app = Shop(__name__)
    concurrency = Concurrency(app)
    app.get("/")(concurrency.limit("1/hour")(lambda: "in"))
    assert [response.headers.get("Shop") for response in answers(app, 4)] == ["open"] * 4


def test_a_refused_page_refuses_no_websocket_of_its_path() -> None:
    """Nor one host another, nor plain HTTP the encrypted one."""
    app, _, counting = refused_app()
    assert [response.status_code for response in answers(app, 3)] == [200, 429, 429]
    met = counting.met
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade"}
    answers(app, 1, headers=handshake)
    answers(app, 1, base_url="https://localhost/")
    answers(app, 1, base_url="http://api.example/")
    assert counting.met == met + 3


def test_an_extension_that_looks_for_its_app_hears_no_refusal() -> None:
    """A Concurrency without an app watches requests; it is none of the app's own receivers."""
    app, _, counting = refused_app()
    idle = Concurrency()
    answers(app, 5)
    assert counting.met == 2
    assert not idle._apps


def test_a_port_in_the_address_is_no_other_client() -> None:
    """Some proxies write one; the refusal is repeated all the same."""
    app, _, counting = refused_app()
    for port in range(40_000, 40_005):
        answers(app, 1, environ_base={"REMOTE_ADDR": f"192.0.2.7:{port}"})
    assert counting.met == 2


class Rows:
    """A body that fails when it is to be read, and one that counts its closings."""

    closed = 0

    def __iter__(self) -> Any:
        raise OSError("no rows")

    def close(self) -> None:
        self.closed += 1


def test_a_body_that_cannot_be_read_gives_its_permit_back() -> None:
    """Its ``__iter__`` raises: it is closed, and the next request comes in."""
    app = Flask(__name__)
    concurrency = Concurrency(app, store="memory://")
    rows = Rows()

    @app.get("/")
    @concurrency.limit("1 in flight")
    def index() -> Response:
        return Response(rows, direct_passthrough=True)

    for times in (1, 2, 3):
        with pytest.raises(OSError, match="no rows"):
            app.test_client().get("/")
        assert rows.closed == times


class GeneratorMiddleware:
    """As many write it: the app is called when the server asks for the first chunk."""

    def __init__(self, wsgi_app: Any) -> None:
        self.wsgi_app = wsgi_app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        yield from self.wsgi_app(environ, start_response)


def test_middleware_that_is_a_generator_leaks_no_permit() -> None:
    """Put on before the extension, it answers only after we have."""
    app = Flask(__name__)
    app.wsgi_app = GeneratorMiddleware(app.wsgi_app)  # type: ignore[method-assign]
    concurrency = Concurrency(app, store="memory://", default_limits="1 in flight")

    @app.get("/")
    @concurrency.deadline(60.0)
    def index() -> str:
        return str(concurrency.remaining() is not None)

    @app.get("/fails")
    def fails() -> str:
        raise ValueError("a fault of the view")

    assert [response.text for response in answers(app, 4)] == ["True"] * 4
    assert [app.test_client().get("/fails").status_code for _ in range(3)] == [500] * 3
    assert [response.status_code for response in answers(app, 2)] == [200] * 2
    assert concurrency.remaining() is None


def test_a_client_that_leaves_generator_middleware_gives_its_permit_back() -> None:
    """The body is closed before, or after, its first chunk."""
    app = Flask(__name__)
    app.wsgi_app = GeneratorMiddleware(app.wsgi_app)  # type: ignore[method-assign]
    Concurrency(app, store="memory://", default_limits="1 in flight")
    app.get("/")(lambda: Response(iter(["a", "b"])))
    environ = EnvironBuilder(path="/").get_environ
    for chunks in (0, 1, 0, 1):
        body: Any = app.wsgi_app(environ(), lambda *told: lambda _: None)
        for _ in range(chunks):
            next(body)
        body.close()
    (last,) = answers(app, 1)
    assert last.status_code == 200
    assert last.text == "ab"


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        ("text/html," + "a/b;q=0.1," * 7_000, "text/html"),
        ("a/b;q=0.1," * 7_000 + "text/html", "application/problem+json"),
        ("x" * 70_000 + "html", "application/problem+json"),
    ],
)
def test_an_accept_field_of_any_length_is_read_in_part(
    accept: str, mimetype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that is refused cannot keep the server busy with it."""
    parsed: list[str] = []

    def parse(text: str, kind: Any) -> Any:
        parsed.append(text)
        return parse_accept_header(text, kind)

    monkeypatch.setattr(responses, "parse_accept_header", parse)
    responses._best_is_html.cache_clear()
    app, *_ = refused_app()
    refused = answers(app, 3, headers={"Accept": accept})[1:]
    assert [response.mimetype for response in refused] == [mimetype] * 2
    assert len(parsed) <= 1
    assert all(len(text) <= responses.MAX_ACCEPT for text in parsed)
