"""Meet every request on arrival and every response on its way out.

Knows Flask's hooks and the order of things; decides no limit and spells no header itself.
"""

from __future__ import annotations

from flask import Flask, Response, request

from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.door import JOURNEY, WATCHED, Door
from flask_concurrency.flask_app.responses import refusal
from flask_concurrency.vocabulary.permit import Ending


def install(app: Flask, state: AppState) -> None:
    """Put the hooks into ``app``: the door around it, arrival before any other hook."""

    def arrive() -> Response | None:
        asked = request._get_current_object()  # type: ignore[attr-defined]
        route = state.route(app, asked.url_rule, asked.method)
        if asked.method == "OPTIONS":
            if route.cors is not None and _is_preflight():
                # Before any other hook: a preflight carries no credentials a login could check.
                return app.make_default_options_response()
            if route.answers_options:
                return None
        gate = route.plan.gate
        if gate is not None and state.settings.enabled:
            environ = asked.environ
            journey = environ[JOURNEY] = Journey(gate)
            if not journey.decision.admitted:
                raise refusal(journey.decision)
            if journey.holds_permit and WATCHED not in environ:
                watch_requests_without_a_door()
        return None

    def allow_origins(response: Response) -> Response:
        asked = request._get_current_object()  # type: ignore[attr-defined]
        cors = state.route(app, asked.url_rule, asked.method).cors
        return response if cors is None else cors.apply(response)

    def abandon(error: BaseException | None) -> None:
        """End a journey that no door watches."""
        environ = request.environ
        journey: Journey | None = environ.get(JOURNEY)
        if journey is not None and WATCHED not in environ:
            journey.end(Ending.COMPLETED if error is None else Ending.ABANDONED)

    def watch_requests_without_a_door() -> None:
        """Meet requests made by hand, such as ``test_request_context``, when they end.

        Installed at the first one, because every hook costs every request of every route.
        """
        hooks = app.teardown_request_funcs.setdefault(None, [])
        if abandon not in hooks:
            hooks.append(abandon)

    app.before_request(arrive)
    hooks = app.before_request_funcs[None]
    hooks.insert(0, hooks.pop())
    app.after_request(allow_origins)
    app.wsgi_app = Door(app.wsgi_app, fields=state.settings.headers)  # type: ignore[method-assign]


def _is_preflight() -> bool:
    return "Origin" in request.headers and "Access-Control-Request-Method" in request.headers
