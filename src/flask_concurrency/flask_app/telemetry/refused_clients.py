"""Remember which clients were refused lately, in memory of fixed size. Counts nothing else."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app.declarations.keys import network
from flask_concurrency.vocabulary.clock import wall

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MOST: Final = 50
"""Clients that one process remembers; a new one takes the place of the one refused longest ago."""
LONGEST: Final = 80
"""Characters of a key that are shown."""


class RefusedClients:
    """The clients that were refused lately: how often, when last, and by which limit."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, float, str]] = {}
        self._lock = threading.Lock()

    def note(self, journey: Journey, environ: WSGIEnvironment) -> None:
        """Remember whom a refused request came from, if it was refused for its client."""
        decision = journey.decision
        if not decision.quota_exceeded:
            return
        key = journey.refused_key
        if key is None:  # a refusal that is repeated counts by address
            key = network(environ.get("REMOTE_ADDR", ""))
        limit = next(each.name for each in decision.refusing if each.per_client)
        with self._lock:
            times = self._found.pop(key, (0, 0.0, ""))[0]
            self._found[key] = times + 1, wall(), limit
            if len(self._found) > MOST:
                del self._found[next(iter(self._found))]

    def forget(self, key: str) -> None:
        """Show a client no more, until it is refused again."""
        with self._lock:
            self._found.pop(key, None)

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._found.clear()

    def snapshot(self) -> dict[str, tuple[int, float, str]]:
        """How often, when last and by which limit each was refused; the latest last."""
        with self._lock:
            return {key: what for key, what in self._found.items() if len(key) <= LONGEST}
