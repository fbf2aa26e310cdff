"""Remember refusals that still hold, so that the middleware can repeat them without Flask.

Knows time and who asked for what; whether the app would notice is decided in
``refusal_observers.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import TYPE_CHECKING, NamedTuple

from flask_concurrency.flask_app.declarations.keys import network
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.decision import Decision, Verdict

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


MAX_REMEMBERED = 4_096
"""Refused clients remembered at most; the one refused longest ago is forgotten first."""

LONGEST = 1.0
"""Seconds a refusal is repeated unasked, so that a limit that was reset opens again soon."""

MAX_PATH = 256
"""Characters of a path, or of a host, that are worth remembering."""


class Refused(NamedTuple):
    """A refusal, and while it holds.

    :ivar decision: What was decided.
    :ivar decided_at: When.
    :ivar until: The instant from which the store is to be asked again.
    :ivar route: The template of the route that refused, for those who count.
    """

    decision: Decision
    decided_at: float
    until: float
    route: str = ""


class RefusalCache:
    """Refusals of one process that still hold.

    :param clock: Seconds that never go back.
    :ivar refused: Who was refused, those that may try again included; read it only to see
        whether it is empty.
    """

    def __init__(self, *, clock: Clock = monotonic) -> None:
        self._clock = clock
        self.refused: dict[Hashable, Refused] = {}
        self._lock = threading.Lock()

    def remember(self, who: Hashable, decision: Decision, route: str = "") -> None:
        """Repeat ``decision`` to ``who``, for a second at most and never longer than it holds."""
        waits = [verdict.retry_after for verdict in decision.refusing]
        holds = min(LONGEST, max((wait for wait in waits if wait is not None), default=LONGEST))
        now = self._clock()
        with self._lock:
            self.refused.pop(who, None)
            self.refused[who] = Refused(decision, now, now + holds, route)
            if len(self.refused) > MAX_REMEMBERED:
                del self.refused[next(iter(self.refused))]

    def recall(self, who: Hashable) -> Decision | None:
        """The refusal that ``who`` would get again, with its waits counted down; or ``None``."""
        refused = self.refused.get(who)
        if refused is None:
            return None
        now = self._clock()
        if now >= refused.until:
            with self._lock:
                if self.refused.get(who) is refused:
                    del self.refused[who]
            return None
        passed = now - refused.decided_at
        return Decision(False, tuple(_later(v, passed) for v in refused.decision.verdicts))

    def route(self, who: Hashable) -> str:
        """The route that refused ``who``."""
        refused = self.refused.get(who)
        return "" if refused is None else refused.route

    def clear(self) -> None:
        """Ask the store again for every client."""
        with self._lock:
            self.refused.clear()

    def __len__(self) -> int:
        """Refusals remembered, those that no longer hold included."""
        return len(self.refused)


def _later(verdict: Verdict, passed: float) -> Verdict:
    return verdict._replace(
        retry_after=None if verdict.retry_after is None else max(0.0, verdict.retry_after - passed),
        reset_after=None if verdict.reset_after is None else max(0.0, verdict.reset_after - passed),
    )


def request_identity(environ: WSGIEnvironment) -> Hashable | None:
    """What a client must ask for again to get the same refusal; ``None`` if it is too long."""
    path, host = environ["PATH_INFO"], environ.get("HTTP_HOST", "")
    if len(path) > MAX_PATH or len(host) > MAX_PATH:
        return None
    return (
        network(environ.get("REMOTE_ADDR", "")),
        environ["REQUEST_METHOD"],
        environ["wsgi.url_scheme"],
        # A page and a WebSocket may have one path.
        "HTTP_UPGRADE" in environ,
        host,
        environ.get("SCRIPT_NAME"),
        path,
    )
