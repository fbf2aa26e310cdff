"""Handle a request before Flask does: health checks, then the adaptive limits of the app.

Knows WSGI and ASGI; decides nothing by itself. An app that has neither pays one look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from flask_concurrency.admission.adaptive_limit import AdaptiveLimit
from flask_concurrency.admission.answer import Answer
from flask_concurrency.asgi.admission import Admission
from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app.http.overload_responses import OverloadResponse
from flask_concurrency.flask_app.overload.control import (
    ADMITTED,
    OVERLOADED,
    Admitted,
    OverloadControl,
)
from flask_concurrency.flask_app.overload.health import HEADERS, HealthChecks
from flask_concurrency.flask_app.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from flask_concurrency.asgi.interface import Receive, Scope, Send

ASKED: Final = "flask_concurrency.asked"
"""Set in the WSGI environment of a request that was handled on ASGI already."""

_LET_ON: Final = Admission({ASKED: True})


class Front:
    """What stands before one app.

    :ivar health: Answers health checks; ``None`` where none are declared.
    :ivar control: Asks the app's adaptive limits; ``None`` where it has none.
    :ivar made_for: The settings for which ``control`` was made.
    :ivar count_refusal: Told the method and the limit of what is refused on ASGI, where no WSGI
        middleware sees it.
    """

    def __init__(self) -> None:
        self.health: HealthChecks | None = None
        self.control: OverloadControl | None = None
        self.made_for: Settings | None = None
        self.count_refusal: Callable[[str, str], None] = lambda method, limit: None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to ask."""
        return self.health is None and self.control is None

    def wsgi(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        journey: Journey,
        *,
        enabled: bool,
    ) -> Iterable[bytes] | None:
        """Answer a WSGI request, or let it on: ``None``; its permit goes with the journey.

        :param enabled: Whether limits are applied.
        """
        if ASKED in environ:
            return None
        if self.health is not None:
            answer = self.health.wsgi(environ, start_response)
            if answer is not None:
                return answer
        if self.control is None or not enabled:
            return None
        outcome = self.control.admit_wsgi(environ)
        if isinstance(outcome, Admitted):
            environ[ADMITTED] = outcome
            journey.hold(outcome)
            return None
        if outcome is None:
            return None
        journey.join(Answer.of(outcome.decision))  # for those who count it
        return outcome.wsgi(environ, start_response)

    def asgi(self, scope: Scope, receive: Receive, *, enabled: bool) -> Admission:
        """Say what becomes of an HTTP request of ASGI.

        :param enabled: Whether limits are applied.
        """
        if self.health is not None:
            found = self.health.answer(scope["method"], scope["path"])
            if found is not None:
                return Admission({}, answer=lambda send: _send_health(found, scope["method"], send))
        if self.control is None or not enabled:
            return _LET_ON
        outcome = self.control.admit_asgi(scope, receive)
        if isinstance(outcome, Admitted):
            return Admission({ASKED: True, ADMITTED: outcome}, permit=outcome)
        if isinstance(outcome, OverloadResponse):
            self.count_refusal(scope["method"], outcome.name)
            return Admission({}, answer=lambda send: outcome.asgi(scope, send))
        if isinstance(outcome, AdaptiveLimit):
            return Admission({ASKED: True, OVERLOADED: outcome})
        return _LET_ON


async def _send_health(found: Any, method: str, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS]
    headers.append((b"content-length", b"%d" % len(found.body)))
    status = int(found.status[:3])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else found.body})
