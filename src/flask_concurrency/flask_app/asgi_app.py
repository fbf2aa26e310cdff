"""Put the ASGI bridge in front of an app. Knows what of Flask it needs; serves nothing itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from flask import Flask, has_request_context, request

from flask_concurrency.asgi.application import Admission, AsgiBridge
from flask_concurrency.asgi.interface import AsgiApplication, Scope
from flask_concurrency.asgi.lifespan import Finish
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.http.responses import REFUSED_UNASKED, ServerBusy, soon
from flask_concurrency.flask_app.loop_endpoints import LoopEndpoints

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def make_asgi_app(app: Flask, state: AppState) -> AsgiApplication:
    """The ASGI application of ``app``, middleware that stands around ``app.wsgi_app`` included."""
    threads = state.executors.threads
    if state.settings.server_threads is None:
        state.rooms.served_by(threads.max_workers)

    def admit(scope: Scope) -> Admission:
        if state.front.made_for is not state.settings:
            state.prepare_front()
        return state.front.asgi(scope, enabled=state.enabled_now)

    return AsgiBridge(
        app,
        runs_on_loop=LoopEndpoints(app, state.owner),
        threads=threads,
        sockets=state.executors.sockets,
        loop=state.executors.loop,
        busy=_no_thread_free,
        drain=state.drain,
        finish=Finish(state.settings.drain_timeout, state.executors.drain),
        max_body=lambda: _max_body(app),
        admit=admit,
    )


def _max_body(app: Flask) -> int | None:
    # A view may have chosen another bound for its own request.
    most = request.max_content_length if has_request_context() else app.config["MAX_CONTENT_LENGTH"]
    return cast("int | None", most)


def _no_thread_free(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a request for which the pool has no place, without the app: WSGI."""
    refused = ServerBusy(REFUSED_UNASKED, "All threads are taken, and so is the queue for them.")
    response = refused.get_response(environ)
    response.headers["Retry-After"] = str(soon())
    return response(environ, start_response)
