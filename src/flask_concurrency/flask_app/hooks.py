"""Meet every request on arrival and every response on its way out.

Knows Flask's hooks and the order of things; decides no limit and spells no header itself.
"""

from __future__ import annotations

from flask import Flask, Response, current_app, request

from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.door import JOURNEY, WATCHED, Door
from flask_concurrency.flask_app.rate_limit_fields import rate_limit, rate_limit_policy
from flask_concurrency.flask_app.responses import refusal, retry_after
from flask_concurrency.vocabulary.permit import Ending


def install(app: Flask, state: AppState) -> None:
    """Put the hooks into ``app``: the door around it, arrival before any other hook."""

    def arrive() -> Response | None:
        asked = request._get_current_object()  # type: ignore[attr-defined]
        route = state.route(current_app, asked.url_rule, asked.method)
        if asked.method == "OPTIONS":
            if route.cors is not None and _is_preflight():
                # Before any other hook: a preflight carries no credentials a login could check.
                return current_app.make_default_options_response()
            if route.answers_options:
                return None
        gate = route.plan.gate
        if gate is not None and state.settings.enabled:
            journey = asked.environ[JOURNEY] = Journey.arrive(gate)
            if not journey.decision.admitted:
                raise refusal(journey.decision)
        return None

    def depart(response: Response) -> Response:
        asked = request._get_current_object()  # type: ignore[attr-defined]
        journey: Journey | None = asked.environ.get(JOURNEY)
        if journey is not None:
            decision = journey.decision
            if state.settings.headers:
                response.headers["RateLimit-Policy"] = rate_limit_policy(decision.verdicts)
                response.headers["RateLimit"] = rate_limit(decision.verdicts)
            if not decision.admitted and (seconds := retry_after(decision)) is not None:
                response.headers["Retry-After"] = str(seconds)
        route = state.route(current_app, asked.url_rule, asked.method)
        return response if route.cors is None else route.cors.apply(response)

    def abandon(error: BaseException | None) -> None:
        """End a journey that no door watches: a request made by hand, without ``wsgi_app``."""
        environ = request.environ
        journey: Journey | None = environ.get(JOURNEY)
        if journey is not None and WATCHED not in environ:
            journey.end(Ending.COMPLETED if error is None else Ending.ABANDONED)

    app.before_request(arrive)
    hooks = app.before_request_funcs[None]
    hooks.insert(0, hooks.pop())
    app.after_request(depart)
    app.teardown_request(abandon)
    app.wsgi_app = Door(app.wsgi_app)  # type: ignore[method-assign]


def _is_preflight() -> bool:
    return "Origin" in request.headers and "Access-Control-Request-Method" in request.headers
