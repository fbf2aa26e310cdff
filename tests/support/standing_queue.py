"""Apps before which a queue stands, without a server and without time passing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask

from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.http.arrivals import Source
from flask_concurrency.runtime.tcp_info import Arrival


class Ages:
    """Stands in for what finds out how old requests are."""

    def __init__(self) -> None:
        self.age = 0.0
        self.gone = False
        self.ended_ones = 0
        self.source: Source | None = "socket"

    def of_environ(
        self, environ: Mapping[str, Any], now: float, inside: Callable[[], int]
    ) -> Arrival:
        """As told."""
        return Arrival(self.age, self.gone)

    def of_scope(
        self, scope: Mapping[str, Any], receive: object, now: float, inside: Callable[[], int]
    ) -> Arrival:
        """The same."""
        return Arrival(self.age, self.gone)

    def ended(self, arrival: Arrival, now: float) -> None:
        """Count it."""
        self.ended_ones += 1


class Overload:
    """Makes an app believe that a queue stands before it.

    :ivar ages: How old requests are.
    """

    def __init__(self, app: Flask) -> None:
        self.state: AppState = app.extensions["concurrency"]
        self.state.prepare_front()
        control = self.state.front.control
        assert control is not None
        self.control = control
        self.ages = Ages()
        control.arrivals = self.ages
        self.limit = control.rules[0].limit

    def stand(self, age: float = 10.0) -> None:
        """Let a queue stand, and every request that comes be so old."""
        guard = self.limit._guards.age
        guard.standing = True
        guard._last_old_at = float("inf")
        self.ages.age = age
