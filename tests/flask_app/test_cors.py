"""CORS: which origins may read what, refusals included, and which configurations are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask
from werkzeug.test import TestResponse

from flask_concurrency import Concurrency, ConfigurationError
from flask_concurrency.flask_app.http.cors import ALWAYS_EXPOSED

SHOP = "https://shop.example"
EVIL = "https://shop.example.evil.test"


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


@pytest.fixture
def concurrency(app: Flask) -> Concurrency:
    return Concurrency(app)


def ask(app: Flask, path: str = "/", origin: str | None = SHOP, **options: Any) -> TestResponse:
    headers = {**({"Origin": origin} if origin else {}), **options.pop("headers", {})}
    return app.test_client().open(path, headers=headers, **options)


def preflight(app: Flask, path: str = "/", origin: str = SHOP, method: str = "GET") -> TestResponse:
    asked = {"Access-Control-Request-Method": method}
    return ask(app, path, origin, method="OPTIONS", headers=asked)


def allowed(response: Any) -> str | None:
    origin: str | None = response.headers.get("Access-Control-Allow-Origin")
    return origin


def hello(app: Flask, concurrency: Concurrency, limit: str = "1/day") -> None:
    app.get("/")(concurrency.limit(limit)(lambda: "hello"))


def test_a_refusal_can_be_read_by_the_other_origin(app: Flask, concurrency: Concurrency) -> None:
    """The page learns why it was refused and when to come back."""
    concurrency.cors(app, origins=SHOP)
    hello(app, concurrency)
    for status in (200, 429):
        response = ask(app)
        assert (response.status_code, allowed(response)) == (status, SHOP)
        exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
        assert set(ALWAYS_EXPOSED) <= set(exposed)
    assert "Retry-After" in response.headers


def test_preflights_are_answered_first_and_never_counted(
    app: Flask, concurrency: Concurrency
) -> None:
    """They carry no credentials, so no login may see them; and they spend nothing."""
    concurrency.cors(app, origins=SHOP)
    hello(app, concurrency)
    app.before_request(lambda: ("log in first", 401))
    for _ in range(5):
        response = preflight(app)
        assert (response.status_code, allowed(response)) == (200, SHOP)
        assert response.headers["Access-Control-Max-Age"] == "600"
    app.before_request_funcs[None].pop()
    assert ask(app).status_code == 200


def test_errors_and_unknown_paths_carry_the_headers(app: Flask, concurrency: Concurrency) -> None:
    """A browser would report a bare network error otherwise."""
    concurrency.cors(app, origins=SHOP)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.get("/fails", endpoint="fails")(lambda: str(1 // 0))
    for path, status in (("/fails", 500), ("/nowhere", 404)):
        with ask(app, path) as response:
            assert (response.status_code, allowed(response)) == (status, SHOP)


@pytest.mark.parametrize("origin", [EVIL, "http://shop.example", "null", None])
def test_other_origins_read_nothing(
    app: Flask, concurrency: Concurrency, origin: str | None
) -> None:
    """And ``Vary`` shows a cache that the answer depends on the origin."""
    concurrency.cors(app, origins=SHOP)
    app.get("/")(lambda: "hello")
    response = ask(app, origin=origin)
    assert allowed(response) is None
    assert "Origin" in response.vary


def test_a_pattern_must_match_the_whole_origin(app: Flask, concurrency: Concurrency) -> None:
    """Flask-CORS alone matches a prefix and would let the second one in."""
    concurrency.cors(app, origins=re.compile(r"https://[a-z]+\.example"))
    app.get("/")(lambda: "hello")
    assert allowed(ask(app)) == SHOP
    assert allowed(ask(app, origin=EVIL)) is None


def test_everybody_may_read_what_is_public(app: Flask, concurrency: Concurrency) -> None:
    """The same answer for all origins, so caches need not vary."""
    concurrency.cors(app, origins="*")
    app.get("/")(lambda: "hello")
    for origin in (SHOP, EVIL, None):
        response = ask(app, origin=origin)
        assert (allowed(response), "Origin" in response.vary) == ("*", False)


def test_a_view_and_a_blueprint_have_policies_of_their_own(
    app: Flask, concurrency: Concurrency
) -> None:
    """The narrowest policy counts, on refusals, too."""
    concurrency.cors(app, origins="https://app.example")
    api = Blueprint("api", __name__)
    concurrency.cors(origins="https://api.example")(api)
    api.get("/api")(lambda: "")

    @app.get("/view")
    @concurrency.cors(origins=SHOP, supports_credentials=True)
    @concurrency.limit("0/day")
    def view() -> str:
        return ""

    app.get("/plain", endpoint="plain")(lambda: "")
    app.register_blueprint(api)
    assert allowed(ask(app, "/plain", "https://app.example")) == "https://app.example"
    assert allowed(ask(app, "/api", "https://api.example")) == "https://api.example"
    assert allowed(ask(app, "/api", "https://app.example")) is None
    refused = ask(app, "/view")
    assert (refused.status_code, allowed(refused)) == (429, SHOP)
    assert refused.headers["Access-Control-Allow-Credentials"] == "true"
    assert preflight(app, "/view").headers["Access-Control-Allow-Credentials"] == "true"


def test_only_the_allowed_methods_pass_a_preflight(app: Flask, concurrency: Concurrency) -> None:
    """What is not allowed is not listed."""
    concurrency.cors(app, origins=SHOP, methods=["get", "POST"])
    app.get("/")(lambda: "")
    assert preflight(app).headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert "Access-Control-Allow-Methods" not in preflight(app, method="DELETE").headers


def test_the_apps_flask_cors_configuration_changes_nothing(
    app: Flask, concurrency: Concurrency
) -> None:
    """A ``CORS_ORIGINS`` left over from before cannot open what was closed."""
    app.config["CORS_ORIGINS"] = "*"
    app.config["CORS_SUPPORTS_CREDENTIALS"] = True
    concurrency.cors(app, origins=SHOP)
    app.get("/")(lambda: "")
    response = ask(app, origin=EVIL)
    assert allowed(response) is None
    assert "Access-Control-Allow-Credentials" not in ask(app).headers


UNSAFE: list[tuple[dict[str, Any], str]] = [
    ({"origins": "*", "supports_credentials": True}, "every site on the web"),
    ({"origins": ["*", SHOP]}, "name it alone"),
    ({"origins": []}, "origins is empty"),
    ({"origins": "null"}, "'null' is not an origin"),
    ({"origins": SHOP + "/"}, "is not an origin"),
    ({"origins": SHOP + "/path"}, "is not an origin"),
    ({"origins": "shop.example"}, "is not an origin"),
    ({"origins": "https://*.shop.example"}, "re.compile"),
    ({"origins": r"https://.*\.shop\.example"}, "re.compile"),
    ({"origins": "https://user@shop.example"}, "is not an origin"),
    ({"origins": "https://shop.example:port"}, "is not an origin"),
    ({"origins": [7]}, "7 is not an origin"),
]


@pytest.mark.parametrize(("options", "told"), UNSAFE)
def test_an_unsafe_configuration_is_refused(
    concurrency: Concurrency, options: dict[str, Any], told: str
) -> None:
    """At start-up, with the value and a right one."""
    with pytest.raises(ConfigurationError, match=told):
        concurrency.cors(**options)


@pytest.mark.parametrize("origin", ["http://localhost:8000", "https://[::1]:8443", "HTTPS://A.b"])
def test_usual_origins_are_accepted(concurrency: Concurrency, origin: str) -> None:
    """Ports, IPv6 and capitals are all fine."""
    decorate: Callable[[Any], Any] = concurrency.cors(origins=origin)
    assert callable(decorate)


def test_an_app_must_be_served_first() -> None:
    """The message names the call that is missing."""
    with pytest.raises(ConfigurationError, match="init_app"):
        Concurrency().cors(Flask("later"), origins=SHOP)
