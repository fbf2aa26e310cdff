"""Let a WSGI application meet an ASGI server's WebSocket as a request to upgrade.

Knows neither what the application does with it nor how messages go. The application takes the
:class:`Connection` from its environment and accepts it; if it does not, its answer is sent instead.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING

from flask_concurrency.asgi.answer import Answers, Body
from flask_concurrency.asgi.environ import CONNECTION, SCOPE, make_environ
from flask_concurrency.asgi.interface import Message, Receive, Scope, Send
from flask_concurrency.asgi.reply import Reply, Streamed, Whole, close_body
from flask_concurrency.asgi.websocket_connection import Connection
from flask_concurrency.executors.own_context import OwnContext
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.runtime.greenlet_bridge import run_suspendable, stepwise
from flask_concurrency.vocabulary.errors import QueueFull

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


async def serve_websocket(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    answers: Answers,
    runs_on_loop: Callable[[WSGIEnvironment], bool],
    threads: ThreadExecutor,
    busy: Answers,
) -> None:
    """Serve one WebSocket, to its end.

    :param runs_on_loop: Says of a request whether it is for the loop, and not for a thread.
    :param threads: Where the others run, each on a thread of its own for as long as it lives.
    :param busy: Answers in place of ``answers`` where ``threads`` takes no more.
    :raises Exception: What the application raised and did not answer itself.
    """
    connection = Connection(scope, receive, send)
    await connection.begin()
    environ = _environ(scope)
    environ[CONNECTION] = connection
    try:
        if runs_on_loop(environ):
            answer = await _on_loop(answers, environ)
        else:
            answer = await _on_thread(answers, environ, threads, busy)
        if not connection.accepted:
            await connection.deny(answer)
    finally:
        await connection.finish()


def _environ(scope: Scope) -> WSGIEnvironment:
    """The environment of the request that began it, as a WSGI server would have it.

    There the scheme is that of HTTP, and the fields say what is meant; over HTTP/2 they are absent.
    """
    scheme = "https" if scope.get("scheme") in ("wss", "https") else "http"
    environ = make_environ({"http_version": "1.1", **scope, "method": "GET", "scheme": scheme})
    environ.update(HTTP_UPGRADE="websocket", HTTP_CONNECTION="Upgrade")
    environ["wsgi.input"] = io.BytesIO()
    environ[SCOPE] = scope
    return environ


async def _on_loop(answers: Answers, environ: WSGIEnvironment) -> list[Message]:
    reply, context = Reply(), Context()
    body = await stepwise(answers.awaited(environ, reply), context)
    return await run_suspendable(lambda: _denial(body, environ, reply), context)


async def _on_thread(
    answers: Answers,
    environ: WSGIEnvironment,
    threads: ThreadExecutor,
    busy: Answers,
) -> list[Message]:
    try:
        future = threads.submit_in(OwnContext(Context()), _answer, answers, environ)
    except QueueFull:
        return await _on_loop(busy, environ)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        environ[CONNECTION].abandon()  # the thread cannot be stopped, and must not wait for ever
        raise


def _answer(answers: Answers, environ: WSGIEnvironment) -> list[Message]:
    reply = Reply()
    return _denial(answers(environ, reply), environ, reply)


def _denial(body: Body, environ: WSGIEnvironment, reply: Reply) -> list[Message]:
    """What the application answers, which is of interest only if it did not accept."""
    accepted = environ[CONNECTION].accepted
    if isinstance(body, Whole):
        return [] if accepted else list(body)
    assert not isinstance(body, Streamed)
    try:
        return [] if accepted else list(reply.messages(body))
    finally:
        close_body(body)
