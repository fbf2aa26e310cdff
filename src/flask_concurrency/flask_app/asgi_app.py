"""Put the ASGI bridge in front of an app. Knows what of Flask it needs; serves nothing itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from flask import Flask, has_request_context, request

from flask_concurrency.asgi.admission import Admission
from flask_concurrency.asgi.application import AsgiBridge
from flask_concurrency.asgi.interface import Receive, Scope
from flask_concurrency.asgi.lifespan import Finish, ServerLife
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.direct_answers import DirectAnswers
from flask_concurrency.flask_app.http.responses import (
    REFUSED_UNASKED,
    DeadlinePassed,
    ServerBusy,
    soon,
)
from flask_concurrency.flask_app.loop_endpoints import LoopEndpoints
from flask_concurrency.flask_app.telemetry.request_counting import refusal_changes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def make_asgi_app(app: Flask, state: AppState) -> AsgiBridge:
    """The ASGI application of ``app``, middleware that stands around ``app.wsgi_app`` included."""
    threads = state.executors.threads
    state.run_async()
    if state.settings.server_threads is None:
        state.rooms.served_by(threads.max_workers)

    def admit(scope: Scope, receive: Receive) -> Admission:
        if state.front.made_for is not state.settings:
            state.prepare_front()
        return state.front.asgi(scope, receive, enabled=state.enabled_now)

    def count_refusal(method: str, limit: str) -> None:
        if state.counters.counts_requests:
            state.counters.get().add(refusal_changes(method, limit))

    state.front.count_refusal = count_refusal
    return AsgiBridge(
        app,
        runs_on_loop=LoopEndpoints(app, state.owner),
        threads=threads,
        sockets=state.executors.sockets,
        loop=state.executors.loop,
        busy=_refuse("All threads are taken, and so is the queue for them."),
        ending=_refuse("The server is about to end."),
        late=_answer_late,
        life=ServerLife(
            loop=state.executors.loop,
            drain=state.drain,
            finish=Finish(state.settings.drain_timeout, state.executors.drain),
            serves=lambda: not app.testing,
        ),
        max_body=lambda: _max_body(app),
        admit=admit,
        answers=DirectAnswers(app, state),
    )


def _max_body(app: Flask) -> int | None:
    # A view may have chosen another bound for its own request.
    most = request.max_content_length if has_request_context() else app.config["MAX_CONTENT_LENGTH"]
    return cast("int | None", most)


def _answer_late(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer 504 while the view still blocks: WSGI."""
    return DeadlinePassed().get_response(environ)(environ, start_response)


def _refuse(why: str) -> WSGIApplication:
    """Make a WSGI application that answers 503 without the app."""

    def refuse(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        response = ServerBusy(REFUSED_UNASKED, why).get_response(environ)
        response.headers["Retry-After"] = str(soon())
        return response(environ, start_response)

    return refuse
