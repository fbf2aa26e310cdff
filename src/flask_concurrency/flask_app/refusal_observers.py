"""Decide whether any part of an app would notice a refusal that is answered without Flask.

Knows the hooks, handlers and signals of an app; knows no limit and no client.
"""

from __future__ import annotations

from flask import (
    Flask,
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    request_finished,
    request_started,
    request_tearing_down,
)

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
        """Whether a middleware, hook, handler or signal of the app sees a refused request."""
        app = self._app
        handlers = app.error_handler_spec.values()
        return bool(
            not self._flask_is_next
            or any(
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
