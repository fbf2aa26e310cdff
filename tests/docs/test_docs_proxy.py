"""What the page on proxies promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_concurrency import Concurrency
from flask_concurrency.keys import remote_address

PAGE = "docs/how-to/behind-a-proxy.md"
PROXY = "10.0.0.2"
Run = Callable[..., dict[str, Any]]


def statuses(app: Flask, forwarded_for: str, times: int) -> list[int]:
    """What the proxy is answered for a visitor."""
    client = app.test_client()
    client.environ_base["REMOTE_ADDR"] = PROXY
    headers = {"X-Forwarded-For": forwarded_for}
    return [client.get("/", headers=headers).status_code for _ in range(times)]


def test_visitors_behind_one_proxy_are_told_apart(run_block: Run) -> None:
    """Each has a count, whatever they write into the header themselves."""
    app = run_block(PAGE)["app"]

    assert statuses(app, "192.0.2.7", 11) == [200] * 10 + [429]
    assert statuses(app, "192.0.2.8", 1) == [200]
    assert statuses(app, "6.6.6.6, 192.0.2.7", 1) == [429]


@pytest.mark.parametrize(("x_for", "counted"), [(1, "10.0.0.1"), (2, "192.0.2.7"), (3, "6.6.6.6")])
def test_the_number_of_proxies_decides_who_is_believed(
    pages: dict[str, Any], x_for: int, counted: str
) -> None:
    """The table of the page, row by row."""
    app = Flask(__name__)
    app.add_url_rule("/", "index", remote_address)
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=x_for)  # type: ignore[method-assign]
    client = app.test_client()
    client.environ_base["REMOTE_ADDR"] = PROXY

    forwarded_for = "6.6.6.6, 192.0.2.7, 10.0.0.1"
    assert client.get("/", headers={"X-Forwarded-For": forwarded_for}).text == counted
    assert f"X-Forwarded-For: {forwarded_for}" in pages[PAGE].text
    assert f"| `{x_for}` | {counted}" in pages[PAGE].text


def test_the_app_tells_whom_it_counts(run_block: Run) -> None:
    """And what the header said."""
    client = run_block(PAGE, 1)["app"].test_client()
    client.environ_base["REMOTE_ADDR"] = PROXY

    told = client.get("/whoami", headers={"X-Forwarded-For": "6.6.6.6, 192.0.2.7"}).get_json()
    assert told == {"counted as": "192.0.2.7", "X-Forwarded-For": "6.6.6.6, 192.0.2.7"}


@pytest.mark.parametrize(("fixed_first", "reached"), [(False, 3), (True, 4)])
def test_outside_is_where_a_repeated_refusal_is_cheap(
    monkeypatch: pytest.MonkeyPatch, fixed_first: bool, reached: int
) -> None:
    """The count is right in either order; a repeated refusal spares Flask in one of them."""
    app = Flask(__name__)
    app.add_url_rule("/", "index", remote_address)
    seen: list[str] = []
    dispatch = Flask.full_dispatch_request

    def flask_itself(app: Flask, *context: Any) -> Response:
        seen.append(request.path)
        return dispatch(app, *context)

    monkeypatch.setattr(Flask, "full_dispatch_request", flask_itself)
    if fixed_first:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)  # type: ignore[method-assign]
    Concurrency(app, default_limits="2/hour", store="memory://")
    if not fixed_first:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)  # type: ignore[method-assign]

    assert statuses(app, "192.0.2.7", 4) == [200, 200, 429, 429]
    assert len(seen) == reached
    assert statuses(app, "192.0.2.8", 3) == [200, 200, 429]


def test_a_subscriber_with_many_networks_is_one_client(run_block: Run) -> None:
    """The page's key folds to a /56, and leaves IPv4 alone."""
    names = run_block(PAGE, 2)
    folded = {
        "2001:db8:1:2::5": "2001:db8:1::/56",
        "2001:db8:1:ff::5": "2001:db8:1::/56",
        "2001:db8:1:100::5": "2001:db8:1:100::/56",
        "::ffff:192.0.2.7": "192.0.2.7",
        "192.0.2.7": "192.0.2.7",
    }
    for address, counted in folded.items():
        with names["app"].test_request_context("/", environ_base={"REMOTE_ADDR": address}):
            assert names["subscriber"]() == counted
