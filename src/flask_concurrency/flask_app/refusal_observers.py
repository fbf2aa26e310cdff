"""Decide whether any part of an app would notice a refusal that is answered without Flask.

Knows the hooks, handlers and signals of an app; knows no limit and no client.
"""

from __future__ import annotations

from blinker import NamedSignal
from flask import (
    Flask,
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    request_finished,
    request_started,
    request_tearing_down,
)
from flask.sessions import SecureCookieSessionInterface

from flask_concurrency.flask_app.app_store import AppStore
from flask_concurrency.flask_app.declarations.unused import DeclarationRegistry
from flask_concurrency.flask_app.http.responses import QuotaExceeded

SENT_FOR_A_REFUSAL = (
    appcontext_pushed,
    request_started,
    request_finished,
    request_tearing_down,
    appcontext_tearing_down,
    appcontext_popped,
)
"""Flask's signals of a request that goes no further than arrival, in their order."""


OVERRIDDEN = (
    "create_url_adapter",
    "dispatch_request",
    "do_teardown_appcontext",
    "do_teardown_request",
    "finalize_request",
    "full_dispatch_request",
    "handle_exception",
    "handle_http_exception",
    "handle_user_exception",
    "log_exception",
    "make_response",
    "process_response",
    "raise_routing_exception",
    "request_class",
    "request_context",
    "response_class",
)
"""What a refused request passes in Flask, in a class of its own or replaced on the app.

Flask-RESTX, for one, replaces ``handle_user_exception`` to answer its own routes in JSON.
"""


class RefusalObservers:
    """What of an app sees a refused request.

    :param app: The app, before its ``wsgi_app`` is replaced.
    :param ours: The class of the ``after_request`` hook that is ours.
    """

    def __init__(self, app: Flask, *, ours: type) -> None:
        self._app = app
        self._ours = ours
        # Middleware between ours and Flask may change who the client is.
        self._flask_is_next = getattr(app.wsgi_app, "__func__", None) is Flask.wsgi_app

    def any(self) -> bool:
        """Whether a middleware, hook, handler, signal or method of the app sees a refusal."""
        app = self._app
        handlers = app.error_handler_spec.values()
        return bool(
            AppStore.make_for_tests is not None  # time passes there as tests will
            or not self._flask_is_next
            or any(name in vars(app) or _is_overridden(type(app), name) for name in OVERRIDDEN)
            or type(app.session_interface) is not SecureCookieSessionInterface
            or any(
                not isinstance(hook, self._ours)
                for hooks in app.after_request_funcs.values()
                for hook in hooks
            )
            or any(app.teardown_request_funcs.values())
            or app.teardown_appcontext_funcs
            or any(_heard(signal, app) for signal in SENT_FOR_A_REFUSAL)
            or any(
                issubclass(QuotaExceeded, kind)
                for by_code in handlers
                for by_kind in by_code.values()
                for kind in by_kind
            )
        )


def _heard(signal: NamedSignal, app: Flask) -> bool:
    """Whether a receiver of the app's own listens, not an extension that looks for its app."""
    return signal.has_receivers_for(app) and any(
        not isinstance(getattr(receiver, "__self__", None), DeclarationRegistry)
        for receiver in signal.receivers_for(app)
    )


def _is_overridden(app_class: type[Flask], name: str) -> bool:
    return getattr(app_class, name) is not getattr(Flask, name)
