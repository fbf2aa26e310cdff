"""CORS options that could never work are refused where they are written; literals stay literals."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency, ConfigurationError

SHOP = "https://shop.example"

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"allow_headers": "X-A, X-B"}, "allow_headers"),
    ({"allow_headers": None}, "allow_headers"),
    ({"allow_headers": ["X-A", 5]}, "allow_headers"),
    ({"expose_headers": "X-A, X-B"}, "expose_headers"),
    ({"expose_headers": None}, "expose_headers"),
    ({"expose_headers": "*", "supports_credentials": True}, "expose_headers"),
    ({"methods": "*"}, "methods"),
    ({"methods": []}, "methods"),
    ({"methods": ["FETCH"]}, "methods"),
    ({"methods": "GET, POST"}, "methods"),
    ({"methods": None}, "methods"),
    ({"supports_credentials": "false"}, "supports_credentials"),
    ({"supports_credentials": "0"}, "supports_credentials"),
    ({"supports_credentials": 1}, "supports_credentials"),
    ({"max_age": "600"}, "max_age"),
    ({"max_age": True}, "max_age"),
    ({"max_age": -1}, "max_age"),
    ({"origins": "https://shop.example:443"}, "write 'https://shop.example'"),
    ({"origins": "http://shop.example:80"}, "write 'http://shop.example'"),
    ({"origins": "https://shop.example "}, "blanks"),
    ({"origins": ["https://a.example ", "https://b.example"]}, "blanks"),
    ({"origins": "https://bücher.example"}, "xn--bcher-kva.example"),
    ({"origins": "null"}, "is not an origin"),
    ({"origins": "file://"}, "is not an origin"),
    ({"origins": "https://shop.example/"}, "is not an origin"),
    ({"origins": "https://*.shop.example"}, "is not an origin"),
    ({"origins": "https://[::zz]"}, "is not an origin"),
    ({"origins": None}, "origins=None"),
    ({"origins": "https://shop\0.example"}, "is not an origin"),
    ({"origins": "https://my shop.example"}, "is not an origin"),
    ({"origins": re.compile(b"https://shop")}, "of bytes"),
    ({"origins": ["*", SHOP]}, "name it alone"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_cannot_work_is_refused(options: dict[str, Any], message: str) -> None:
    """By name, with what to write instead."""
    with pytest.raises(ConfigurationError, match=message):
        Concurrency().cors(**{"origins": SHOP, **options})


@pytest.mark.parametrize(
    "origins", [v for o, _ in REFUSED if (v := o.get("origins", SHOP)) != SHOP]
)
def test_websockets_refuse_the_same_origins(origins: Any) -> None:
    """There is one notion of an origin."""
    with pytest.raises(ConfigurationError):
        Concurrency().websocket(origins=origins)


ALLOWED: list[tuple[Any, str, bool]] = [
    ("https://Shop.Example", "https://shop.example", True),
    ("http://[::1]:8080", "http://[::1]:8080", True),
    ("https://[2001:db8::1]", "https://[2001:db8::1]", True),
    ("https://[2001:DB8:0:0::1]", "https://[2001:db8::1]", True),
    ("https://[2001:db8::1]", "https://bank.evil.test", False),
    ("https://[2001:db8::1]", "https://8.evil.test", False),
    ("https://shop.example", "https://shopxexample", False),
    ("https://shop.example", "https://shop.example.evil.test", False),
    ("capacitor://localhost", "capacitor://localhost", True),
    (re.compile("(?i)https://[a-z]+\\.shop\\.example"), "https://A.SHOP.example", True),
    (re.compile("https://a\\.example # ours", re.VERBOSE), "https://a.example", True),
    (re.compile("https://a\\.example"), "https://a.example.evil.test", False),
    (re.compile("https://a|https://b"), "https://b.evil.test", False),
    (re.compile("https://a|https://b"), "https://b", True),
]


@pytest.mark.parametrize(("origins", "origin", "allowed"), ALLOWED)
def test_an_origin_is_compared_as_browsers_send_it(
    origins: Any, origin: str, allowed: bool
) -> None:
    """Exactly, or by a pattern that matches the whole; for pages and for WebSockets."""
    app = Flask(__name__)
    concurrency = Concurrency(app)

    @app.get("/")
    @concurrency.cors(origins=origins, supports_credentials=True)
    def index() -> str:
        return "hello"

    @concurrency.websocket(origins=origins)
    def socket(ws: object) -> None: ...

    app.add_url_rule("/socket", view_func=socket, websocket=True)
    headers = app.test_client().get("/", headers={"Origin": origin}).headers
    assert headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
    assert headers.get("Access-Control-Allow-Credentials") == ("true" if allowed else None)
    handshake = {"Origin": origin, "Upgrade": "websocket", "Connection": "Upgrade"}
    refused = app.test_client().get("/socket", headers=handshake).status_code == 403
    assert refused is not allowed


def test_a_preflight_of_any_length_costs_nothing() -> None:
    """It is never counted, so what it asks for is read up to a length."""
    app = Flask(__name__)
    concurrency = Concurrency(app)

    @app.get("/")
    @concurrency.cors(origins=SHOP, max_age=timedelta(minutes=1))
    def index() -> str:
        return "hello"

    for asked, answered in (("x-a", "x-a"), ("x-a," * 10_000, None)):
        headers = {
            "Origin": SHOP,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": asked,
        }
        response = app.test_client().options("/", headers=headers)
        assert response.headers.get("Access-Control-Allow-Headers") == answered
