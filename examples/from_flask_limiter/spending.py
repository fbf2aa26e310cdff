"""Compare what requests spend: in a refusal, at the turn of a window, in a race, all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from examples.tutorial.measure.crowd import Room, send_at_once
from flask import Flask, Response, abort

from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.testing.manual_clock import ManualClock

from .apps import ours, theirs, with_view
from .difference import Difference, admitted, ask

CROWD = 20
OPEN_STORE = "flask_concurrency.flask_app.app_store.open_store"


def differences() -> Iterator[Difference]:
    """Each of them."""
    yield Difference(
        '"10/minute" and "3/hour"; 10 requests: what they spend of the minute',
        f"{spent_theirs()} units: a refusal spends what was asked before",
        f"{spent_ours()} units: a refusal spends nothing",
    )
    yield Difference(
        '"10/minute"; 1 request at 0 s, 9 at 59 s, 10 at 61 s: who comes in from 59 s on',
        f"{around_the_turn_theirs()}: the window starts over",
        f"{around_the_turn_ours()}: the window slides",
    )
    yield Difference(
        f'"1/hour", charged for a 401 only; {CROWD} wrong passwords at once',
        f"{tried_theirs()} are tried: asked before, charged after",
        f"{tried_ours()} is tried: reserved before, given back after",
    )
    yield Difference(
        '"10/minute"; a request of cost 50, then one of cost 1',
        too_dear_theirs(),
        too_dear_ours(),
    )


def spent_theirs() -> int:
    """Units of the minute that are spent after ten requests, of which three came in."""
    app, limiter = theirs(default_limits=["10/minute; 3/hour"])
    left: list[int] = []

    @app.after_request
    def note(response: Response) -> Response:
        left.extend(
            limit.remaining for limit in limiter.current_limits if "minute" in str(limit.limit)
        )
        return response

    ask(with_view(app), 10)
    return 10 - left[-1]


def spent_ours() -> int:
    """The same, here."""
    app, concurrency = ours(default_limits="10/minute; 3/hour")
    left: list[int] = []

    @app.after_request
    def note(response: Response) -> Response:
        assert concurrency.current is not None
        left.append(concurrency.current.verdicts[0].remaining)
        return response

    ask(with_view(app), 10)
    return 10 - left[-1]


def around_the_turn_theirs() -> int:
    """Who comes in within two seconds, with the strategy one gets without asking."""
    app = with_view(theirs(default_limits=["10/minute"])[0])
    with patch("time.time") as clock:
        return _around_the_turn(app, lambda at: setattr(clock, "return_value", 1e9 + at))


def around_the_turn_ours() -> int:
    """The same, here."""
    clock = ManualClock()
    with patch(OPEN_STORE, lambda *_, **__: MemoryStore(clock=clock)):
        app, _ = ours(default_limits="10/minute")
    return _around_the_turn(with_view(app), lambda at: setattr(clock, "now", at))


def _around_the_turn(app: Flask, set_clock: Callable[[float], object]) -> int:
    set_clock(0)
    ask(app)
    set_clock(59)
    before = admitted(ask(app, 9))
    set_clock(61)
    return before + admitted(ask(app, 10))


def tried_theirs() -> int:
    """Wrong passwords that reach the view of a login, all sent at once."""
    app, limiter = theirs()
    return _tried(app, limiter.limit("1/hour", deduct_when=_failed))


def tried_ours() -> int:
    """The same, here."""
    app, concurrency = ours()
    return _tried(app, concurrency.limit("1/hour", charge_when=_failed))


def _failed(response: Response) -> bool:
    return response.status_code == 401


def _tried(app: Flask, limit: Callable[[Any], Any]) -> int:
    room = Room(CROWD)

    @app.get("/")
    @limit
    def login() -> str:
        room.stay()
        abort(401)

    send_at_once(app, room)
    return room.most


def too_dear_theirs() -> str:
    """What becomes of a request that could never be afforded, and of the next."""
    app, limiter = theirs()
    costs = iter([50, 1])
    return _too_dear(with_view(app, limiter.limit("10/minute", cost=lambda: next(costs))))


def too_dear_ours() -> str:
    """The same, here."""
    app, concurrency = ours()
    costs = iter([50, 1])
    return _too_dear(with_view(app, concurrency.limit("10/minute", cost=lambda: next(costs))))


def _too_dear(app: Flask) -> str:
    first, second = (answer.status_code for answer in ask(app, 2))
    return f"{first}, then {second}"
