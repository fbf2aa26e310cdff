"""Find the journey of a request in its WSGI environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_concurrency.engine.journey import Journey

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


UNROUTED = ""
"""The route of requests that match none."""

JOURNEY = "flask_concurrency.journey"
"""Where in the WSGI environment a request's :class:`Journey` travels."""


def journey_of(environ: WSGIEnvironment) -> Journey:
    """The journey of a request; created here if it passed no middleware (test_request_context)."""
    journey: Journey | None = environ.get(JOURNEY)
    if journey is None:
        journey = environ[JOURNEY] = Journey()
        journey.ended_by_middleware = False
    return journey
