"""Compare whom a limit reaches: no route, a preflight, no key, a network; and a limit misspelt."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

from flask import Flask

from flask_concurrency import ConfigurationError

from .apps import ours, theirs, with_view
from .difference import Difference, admitted, ask, refused

NETWORK = [f"2001:db8::{number}" for number in range(1, 6)]


def differences() -> Iterator[Difference]:
    """Each of them."""
    their_app, limiter = theirs(default_limits=["2/hour"])
    our_app, concurrency = ours(default_limits="2/hour")
    yield Difference(
        '"2/hour" as the default, "5/minute" on the view; 4 requests',
        f"{admitted(ask(with_view(their_app, limiter.limit('5/minute')), 4))} come in: replaced",
        f"{admitted(ask(with_view(our_app, concurrency.limit('5/minute')), 4))} come in: added",
    )
    their_app, our_app = theirs(application_limits=["3/hour"])[0], ours(app_limits="3/hour")[0]
    yield Difference(
        '"3/hour" for the whole app; 6 requests for a page that is not there',
        f"{refused(ask(their_app, 6, '/nowhere'))} are refused",
        f"{refused(ask(our_app, 6, '/nowhere'))} are refused",
    )
    their_app, our_app = theirs(default_limits=["2/hour"])[0], ours(default_limits="2/hour")[0]
    yield Difference(
        '"2/hour"; 5 OPTIONS requests, which Flask answers by itself',
        f"{refused(ask(with_view(their_app), 5, method='OPTIONS'))} are refused",
        f"{refused(ask(with_view(our_app), 5, method='OPTIONS'))} are refused",
    )
    their_app = theirs(lambda: "", default_limits=["1/hour"])[0]
    our_app = ours(key=lambda: "", default_limits="1/hour")[0]
    yield Difference(
        '"1/hour"; the key of 5 requests is empty',
        f"{admitted(ask(with_view(their_app), 5))} come in: no key, no limit",
        f"{admitted(ask(with_view(our_app), 5))} comes in: all without a key share one count",
    )
    their_app, our_app = theirs(default_limits=["1/hour"])[0], ours(default_limits="1/hour")[0]
    yield Difference(
        '"1/hour"; one subscriber asks from 5 addresses of their IPv6 network',
        f"{from_a_network(their_app)} come in",
        f"{from_a_network(our_app)} comes in",
    )
    yield Difference(
        '"10 per fortnight" on a view; 20 requests',
        malformed_theirs(),
        malformed_ours(),
    )
    yield Difference(
        '"1/hour" on a view, written above @app.get; 5 requests',
        f"{above_the_route_theirs()} come in: the limit is not found",
        f"{above_the_route_ours()} comes in",
    )
    yield Difference(
        '"1/hour" on a function that a view calls; 5 requests',
        f"{on_a_function_theirs()} comes in",
        on_a_function_ours(),
    )


def from_a_network(app: Flask) -> int:
    """Who comes in, of requests from several addresses of one IPv6 network."""
    with_view(app)
    return sum(admitted(ask(app, address=address)) for address in NETWORK)


def malformed_theirs() -> str:
    """What becomes of a limit that cannot be read."""
    app, limiter = theirs()
    return f"{admitted(ask(with_view(app, limiter.limit('10 per fortnight')), 20))} come in"


def malformed_ours() -> str:
    """The same, here."""
    _, concurrency = ours()
    try:
        concurrency.limit("10 per fortnight")
    except ConfigurationError as error:
        return f"ConfigurationError: {str(error).partition(' (')[0]}"
    return "the app starts"


def above_the_route_theirs() -> int:
    """Who comes in where the decorators stand in the other order."""
    app, limiter = theirs()

    @limiter.limit("1/hour")
    @app.get("/")
    def hello() -> str:
        return "Hello, World!"

    return admitted(ask(app, 5))


def above_the_route_ours() -> int:
    """The same, here."""
    app, concurrency = ours()

    @concurrency.limit("1/hour")
    @app.get("/")
    def hello() -> str:
        return "Hello, World!"

    return admitted(ask(app, 5))


def on_a_function_theirs() -> int:
    """Who comes in where the decorated function is no view."""
    app, limiter = theirs()

    @limiter.limit("1/hour")
    def send() -> str:
        return "sent"

    app.add_url_rule("/", "send", lambda: send())
    return admitted(ask(app, 5))


def on_a_function_ours() -> str:
    """The same, here, where it limits nothing but a warning says so."""
    app, concurrency = ours()
    said: list[str] = []

    @concurrency.limit("1/hour")
    def send() -> str:
        return "sent"

    app.add_url_rule("/", "send", lambda: send())
    with patch(
        "flask_concurrency.flask_app.declarations.unused.logger.warning",
        lambda *a: said.append(a[0]),
    ):
        came = admitted(ask(app, 5))
    return f"{came} come in, and {len(said)} warning is logged"
