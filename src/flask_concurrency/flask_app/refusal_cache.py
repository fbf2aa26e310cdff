"""Repeat a refusal at the door, before Flask: only where nobody could tell the difference.

Knows which parts of an app would have seen the request; decides no limit.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import TYPE_CHECKING, NamedTuple

from flask import (
    Flask,
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    request_finished,
    request_started,
    request_tearing_down,
)

from flask_concurrency.admission.gate import Gate
from flask_concurrency.flask_app.declarations.keys import remote_address
from flask_concurrency.flask_app.http.responses import QuotaExceeded
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.decision import Decision, Verdict

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


MAX_REMEMBERED = 4_096
"""Refused clients remembered at most; the one refused longest ago is forgotten first."""

LONGEST = 1.0
"""Seconds a refusal is repeated unasked, so that a limit that was reset opens again soon."""


class Refused(NamedTuple):
    """A refusal, and while it holds.

    :ivar decision: What was decided.
    :ivar decided_at: When.
    :ivar until: The instant from which the store is to be asked again.
    """

    decision: Decision
    decided_at: float
    until: float


class RefusalMemo:
    """Refusals of one process that still hold.

    :param clock: Seconds that never go back.
    :ivar refused: Who was refused, those that may try again included; read it only to see
        whether there is anybody.
    """

    def __init__(self, *, clock: Clock = monotonic) -> None:
        self._clock = clock
        self.refused: dict[Hashable, Refused] = {}
        self._lock = threading.Lock()

    def remember(self, who: Hashable, decision: Decision) -> None:
        """Repeat ``decision`` to ``who``, for a second at most and never longer than it holds."""
        waits = [verdict.retry_after for verdict in decision.refusing]
        holds = min(LONGEST, max((wait for wait in waits if wait is not None), default=LONGEST))
        now = self._clock()
        with self._lock:
            self.refused.pop(who, None)
            self.refused[who] = Refused(decision, now, now + holds)
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

    def __len__(self) -> int:
        """Refusals remembered, those that no longer hold included."""
        return len(self.refused)


def _later(verdict: Verdict, passed: float) -> Verdict:
    return verdict._replace(
        retry_after=None if verdict.retry_after is None else max(0.0, verdict.retry_after - passed),
        reset_after=None if verdict.reset_after is None else max(0.0, verdict.reset_after - passed),
    )


SENT_FOR_A_REFUSAL = (
    appcontext_pushed,
    request_started,
    request_finished,
    request_tearing_down,
    appcontext_tearing_down,
    appcontext_popped,
)
"""Flask's signals of a request that goes no further than arrival, in their order."""

MAX_PATH = 256
"""Characters of a path that are worth remembering."""


class Repeat:
    """What the door of one app may answer by itself.

    :param app: The app behind the door.
    :param ours: The class of the ``after_request`` hook that is ours.
    :ivar refused: Empty while there is nobody to be recalled.
    """

    def __init__(self, app: Flask, *, ours: type) -> None:
        self._app = app
        self._ours = ours
        self._memo = RefusalMemo()
        self.refused = self._memo.refused
        # Middleware between the door and Flask may change who the client is.
        self._door_is_next = getattr(app.wsgi_app, "__func__", None) is Flask.wsgi_app

    def remember(self, environ: WSGIEnvironment, gate: Gate, decision: Decision) -> None:
        """Repeat a refusal to this client and path, if nothing of the app would notice."""
        if (
            self._door_is_next
            and len(environ["PATH_INFO"]) <= MAX_PATH
            and gate.repeats(decision, remote_address)
            and not self._somebody_listens()
        ):
            self._memo.remember(_who(environ), decision)

    def recall(self, environ: WSGIEnvironment) -> Decision | None:
        """The refusal this request would get; ``None`` to ask."""
        return self._memo.recall(_who(environ))

    def _somebody_listens(self) -> bool:
        """Whether a hook, a handler or a signal of the app would have met the refused request."""
        app = self._app
        handlers = app.error_handler_spec.values()
        return bool(
            any(
                not isinstance(hook, self._ours)
                for hooks in app.after_request_funcs.values()
                for hook in hooks
            )
            or any(app.teardown_request_funcs.values())
            or app.teardown_appcontext_funcs
            or any(signal.has_receivers_for(app) for signal in SENT_FOR_A_REFUSAL)
            or any(
                issubclass(QuotaExceeded, kind)
                for by_code in handlers
                for by_kind in by_code.values()
                for kind in by_kind
            )
        )


def _who(environ: WSGIEnvironment) -> Hashable:
    return (
        environ.get("REMOTE_ADDR"),
        environ["REQUEST_METHOD"],
        environ.get("HTTP_HOST"),
        environ.get("SCRIPT_NAME"),
        environ["PATH_INFO"],
    )
