"""Run a request on the server's own event loop, suspended wherever it would wait.

Knows neither how the client's messages come in nor which requests come here.
"""

from __future__ import annotations

import asyncio
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
        body = wsgi_app(environ, reply.start_response)
        try:
            for message in reply.messages(body):
                if inbox.gone:
                    break
                suspend(send(message))
        finally:
            close_body(body)

    task = asyncio.current_task()
    assert task is not None
    watch = Watch(inbox, task.cancel)
    try:
        # A context of its own: servers may start a request in that of the one before.
        await Driving(serve, Context())
    except asyncio.CancelledError:
        if not watch.acted:
            raise
    finally:
        watch.stop()
        if watch.acted:
            task.uncancel()
