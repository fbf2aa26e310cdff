"""Install the hooks: check every request on arrival, settle every response on its way out.

Knows Flask's hooks and the order of things; decides no limit and spells no header itself.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from flask import Flask, Request, Response, current_app, request
from flask.typing import ResponseReturnValue

from flask_concurrency.admission.adaptive_limit import AdaptiveLimit, ask_adaptive, refused_by
from flask_concurrency.admission.answer import Answer
from flask_concurrency.admission.gate import Gate
from flask_concurrency.asgi.environ import ON_DEADLINE
from flask_concurrency.engine.declaration import Declaration
from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app.app_state import AppState, Route
from flask_concurrency.flask_app.current_journey import JOURNEY, UNROUTED, journey_of
from flask_concurrency.flask_app.deadline_response import answer_overdue, hold_to_deadline
from flask_concurrency.flask_app.declarations.keys import remote_address
from flask_concurrency.flask_app.declarations.time_limit import TimeLimit
from flask_concurrency.flask_app.http.overload_responses import DETAIL
from flask_concurrency.flask_app.http.responses import (
    REFUSED_UNASKED,
    BadCost,
    QuotaExceeded,
    ServerBusy,
    cannot_count,
    refusal,
    too_old,
)
from flask_concurrency.flask_app.middleware import JourneyMiddleware
from flask_concurrency.flask_app.overload.control import ADMITTED, OVERLOADED
from flask_concurrency.flask_app.overload_rules import make_control
from flask_concurrency.flask_app.queue_full_response import answer_queue_full
from flask_concurrency.flask_app.refusal_cache import request_identity
from flask_concurrency.flask_app.refusal_observers import RefusalObservers
from flask_concurrency.flask_app.settings import ENABLED
from flask_concurrency.flask_app.telemetry.signals import request_refused, tell
from flask_concurrency.flask_app.view_wrapping import put_around_view
from flask_concurrency.vocabulary.decision import Decision
from flask_concurrency.vocabulary.errors import (
    DeadlineExceeded,
    QueueFull,
    StoreError,
    UnreadableCost,
)
from flask_concurrency.vocabulary.permit import Ending

_preprocess_request = Flask.preprocess_request
"""As it was when this was loaded; a tool may put another one in its place."""

ASKS = "__flask_concurrency_asks__"
"""Set on a view function that asks its own gate."""


def install(app: Flask, state: AppState) -> None:
    """Put the hooks into ``app``: the middleware around it, our check before any other hook."""

    config = app.config
    asked_now = request._get_current_object  # type: ignore[attr-defined]
    routes, counters, front = state.routes, state.counters, state.front

    def before_request(*context: Any) -> ResponseReturnValue | None:
        # Every request of every route passes here, so it calls as little as it can: a route
        # without limits pays 2 µs in all (``bench added``).
        asked = asked_now()
        if config.get(ENABLED) is not state.enabled_written:
            state.switch()
        rule, environ = asked.url_rule, asked.environ
        if counters.requests is not None or request_refused.receivers:
            journey: Journey | None = environ.get(JOURNEY)
            if journey is not None and rule is not None:
                journey.route = rule.rule
        route = routes.get((None if rule is None else rule.endpoint, asked.method))
        if route is None:
            route = state.route(app, rule, asked.method)
        if front.control is not None:
            meet_guards(asked, route)
        settings = state.settings
        if settings.max_request_age is None and (route.needs_no_check or route.only_gate):
            if route.only_gate is not None and settings.enabled:
                ask_on_arrival(asked, route, route.only_gate)
        else:
            answer = check(asked, route)
            if answer is not None:
                return answer
        # Flask's own looks for hooks of each blueprint of a request: 3 µs, of an app without any.
        if stock and not before_hooks and not url_hooks:
            return None
        return run_hooks(*context)

    def meet_guards(asked: Request, route: Route) -> None:
        admitted = asked.environ.get(ADMITTED)
        if admitted is not None:
            seconds = None if route.time is None else route.time.seconds
            admitted.is_for(asked.endpoint or "", seconds)
        elif OVERLOADED in asked.environ:
            raise overloaded(asked.environ[OVERLOADED])

    def check(asked: Request, route: Route) -> Response | None:
        if asked.method == "OPTIONS":
            if route.cors is not None and _is_preflight():
                # Before any other hook: a preflight carries no credentials a login could check.
                return app.make_default_options_response()
            if route.answers_options:
                return None
        if state.settings.enabled:
            max_age = state.settings.max_request_age
            if max_age is not None and (old := too_old(asked.environ, max_age)):
                journey_of(asked.environ).join(Answer.of(old.decision))
                raise old
            if route.time is not None:
                _start_clock(app, asked.endpoint, route.time, asked.environ)
            if route.plan.view is not None and asked.endpoint is not None:
                ask_before_view(app, state, asked.endpoint)
            if route.plan.adaptive:
                ask_adaptive_limits(app, state, route, asked)
            if route.plan.arrival is not None:
                ask_on_arrival(asked, route, route.plan.arrival)
        return None

    def ask_on_arrival(asked: Request, route: Route, gate: Gate) -> None:
        try:
            ask(app, gate, asked.environ)
        except QuotaExceeded as refused:
            if route.cors is None and gate.repeats(refused.decision, remote_address):
                who = request_identity(asked.environ)
                if who is not None and not observers.any():
                    refusals.remember(who, refused.decision, route_of(asked))
            raise

    state.prepare_front = partial(prepare_front, app, state)
    state.tell_refused = partial(tell_refused, app)
    handlers = app.error_handler_spec[None][None]
    handlers.setdefault(DeadlineExceeded, answer_overdue)
    handlers.setdefault(QueueFull, answer_queue_full)
    # In front of the hooks and not one of them: Flask looks at each hook again in each request,
    # which takes longer than to see that a route has no limit.
    run_hooks: Callable[..., ResponseReturnValue | None] = app.preprocess_request
    stock = getattr(run_hooks, "__func__", None) is _preprocess_request
    before_hooks, url_hooks = app.before_request_funcs, app.url_value_preprocessors
    app.preprocess_request = before_request  # type: ignore[method-assign]
    observers = RefusalObservers(app, ours=AfterRequest)
    refusals = state.refusals
    app.wsgi_app = JourneyMiddleware(  # type: ignore[method-assign]
        app.wsgi_app, state=state, refusals=refusals
    )


def route_of(asked: Request) -> str:
    """The template of a request's route, never its path."""
    return UNROUTED if asked.url_rule is None else asked.url_rule.rule


def tell_refused(app: Flask, environ: dict[str, Any], decision: Decision, status: str) -> None:
    """Send the signal that a request was refused."""
    tell(
        request_refused,
        app,
        decision=decision,
        route=journey_of(environ).route,
        environ=environ,
        status=int(status[:3]),
    )


def prepare_front(app: Flask, state: AppState) -> None:
    """Make what stands before the app as its settings say, which may change until it is in use."""
    state.apply_late_changes(app)
    settings = state.settings
    state.front.control = make_control(app, state) if settings.enabled else None
    state.front.made_for = settings


class AfterRequest:
    """Settle what depends on a response, and add the CORS fields of its route.

    :param app: The app.
    :param state: What it owns.
    """

    def __init__(self, app: Flask, state: AppState) -> None:
        self._app = app
        self._state = state

    def __call__(self, response: Response) -> Response:
        """Flask's ``after_request`` hook."""
        journey: Journey | None = request.environ.get(JOURNEY)
        if journey is not None and journey.unsettled:
            journey.settle(response)
        route = self._state.route(self._app, request.url_rule, request.method)
        return response if route.cors is None else route.cors.apply(response)


def install_after_request(app: Flask, state: AppState) -> None:
    """Install the hook on responses; a second call changes nothing.

    Called once something asks for it, because every hook costs every request of every route.
    """
    hooks = app.after_request_funcs.setdefault(None, [])
    if not any(isinstance(hook, AfterRequest) for hook in hooks):
        hooks.insert(0, AfterRequest(app, state))  # run last, it sees what the client will


def ask(app: Flask, gate: Gate, environ: dict[str, Any]) -> None:
    """Ask a gate on behalf of the current request.

    :raises Refusal: It does not let the request in.
    """
    journey: Journey = environ.get(JOURNEY) or journey_of(environ)
    try:
        answer = journey.ask(gate)
    except StoreError as error:
        journey.join(Answer.of(REFUSED_UNASKED))
        raise cannot_count() from error
    except UnreadableCost as error:
        raise BadCost() from error
    if not answer.admitted:
        raise refusal(answer.decision)
    if not journey.ended_by_middleware and journey.holds_permit:
        _end_requests_without_middleware(app)


def ask_adaptive_limits(app: Flask, state: AppState, route: Route, asked: Request) -> None:
    """Ask the adaptive limits of a route on behalf of the current request.

    :raises ServerBusy: One of them does not let the request in.
    """
    journey = journey_of(asked.environ)
    permit = ask_adaptive(
        route.plan.adaptive,
        who=lambda: state.askers(app).asker(asked.environ, state.key),
        route=asked.endpoint or "",
        deadline=None if route.time is None else route.time.seconds,
    )
    if isinstance(permit, AdaptiveLimit):
        raise overloaded(permit)
    journey.hold(permit)
    if not journey.ended_by_middleware:
        _end_requests_without_middleware(app)


def overloaded(limit: AdaptiveLimit) -> ServerBusy:
    """The refusal of an adaptive limit that Flask is to answer."""
    decision = refused_by(limit)
    journey_of(request.environ).join(Answer.of(decision))
    return ServerBusy(decision, DETAIL)


def ask_before_view(app: Flask, state: AppState, endpoint: str) -> None:
    """Make an endpoint's view ask its gate first, after every hook has run."""

    def ask_view_gate() -> AbstractContextManager[None]:
        gate = state.route(app, request.url_rule, request.method).plan.view
        if gate is not None:
            ask(app, gate, request.environ)
        return nullcontext()

    put_around_view(app, endpoint, ASKS, ask_view_gate)


def ask_at_call(state: AppState, declaration: Declaration) -> None:
    """Ask for the current request, once, what was declared where a decorator stands."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    gate = state.call_gate(app, request.url_rule, request.method, declaration)
    if gate is None or not state.settings.enabled:
        return
    journey = journey_of(request.environ)
    if gate not in journey.called:
        journey.called += (gate,)
        ask(app, gate, request.environ)


def _end_requests_without_middleware(app: Flask) -> None:
    """End requests that pass no middleware, such as ``test_request_context``.

    Installed at the first one, because every hook costs every request of every route.
    """
    hooks = app.teardown_request_funcs.setdefault(None, [])
    if _end_request not in hooks:
        hooks.append(_end_request)


def _end_request(error: BaseException | None) -> None:
    journey: Journey | None = request.environ.get(JOURNEY)
    if journey is not None and not journey.ended_by_middleware:
        journey.stop_clock()
        journey.end(Ending.COMPLETED if error is None else Ending.ABANDONED)


def _start_clock(
    app: Flask, endpoint: str | None, time: TimeLimit, environ: dict[str, Any]
) -> None:
    journey = journey_of(environ)
    journey.start_clock(time.seconds)
    if (tell_server := environ.get(ON_DEADLINE)) is not None:
        tell_server(time.seconds)
    if endpoint is not None:
        hold_to_deadline(app, endpoint)
    if not journey.ended_by_middleware:
        _end_requests_without_middleware(app)


def _is_preflight() -> bool:
    return "Origin" in request.headers and "Access-Control-Request-Method" in request.headers
