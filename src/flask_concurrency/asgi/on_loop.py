"""Run a request on the server's own event loop, suspended wherever it would wait.

Knows neither how the client's messages come in nor which requests come here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import TYPE_CHECKING

from flask_concurrency.asgi.inbox import Inbox
from flask_concurrency.asgi.interface import Send
from flask_concurrency.asgi.reply import Reply, close_body
from flask_concurrency.asgi.watch import Watch
from flask_concurrency.vocabulary.suspension import Driving, suspend

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment


async def serve_on_loop(
    wsgi_app: WSGIApplication, environ: WSGIEnvironment, inbox: Inbox, send: Send
) -> None:
    """Answer one request; a client that leaves cancels it.

    :raises Exception: What the application raised and did not answer itself.
    """

    def serve() -> None:
        reply = Reply()
        send_body(reply, wsgi_app(environ, reply.start_response), inbox, send)

    # A context of its own: servers may start a request in that of the one before.
    await drive(serve, Context(), inbox)


async def drive(function: Callable[[], None], context: Context, inbox: Inbox) -> None:
    """Run a part of a request on the loop; a client that leaves cancels it."""
    task = asyncio.current_task()
    assert task is not None
    watch = Watch(inbox, task.cancel)
    try:
        await Driving(function, context)
    except asyncio.CancelledError:
        if not watch.acted:
            raise
    finally:
        watch.stop()
        if watch.acted:
            task.uncancel()


def send_body(reply: Reply, body: Iterable[bytes], inbox: Inbox, send: Send) -> None:
    """Say an answer, suspended where its body or the client is slow, and close it."""
    try:
        for message in reply.messages(body):
            if inbox.gone:
                break
            try:
                suspend(send(message))
            except OSError:  # what servers say of a connection that is gone
                inbox.gone = True
                break
    finally:
        close_body(body)
