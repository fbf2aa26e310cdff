"""Run a request on the server's own event loop, suspended wherever it would wait.

Knows neither how the client's messages come in nor which requests come here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING

from flask_concurrency.asgi.answer import say, send_all
from flask_concurrency.asgi.cooperative_yield import CooperativeYield
from flask_concurrency.asgi.disconnect_watch import DisconnectWatch
from flask_concurrency.asgi.inbox import Inbox
from flask_concurrency.asgi.interface import Message, Send
from flask_concurrency.asgi.reply import Reply
from flask_concurrency.runtime.greenlet_bridge import run_suspendable, suspend

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment


async def serve_on_loop(
    wsgi_app: WSGIApplication, environ: WSGIEnvironment, inbox: Inbox, send: Send
) -> None:
    """Answer one request; a client that leaves cancels it.

    :raises Exception: What the application raised and did not answer itself.
    """

    reply = Reply()

    def body() -> Iterable[bytes]:
        return wsgi_app(environ, reply.start_response)

    # A context of its own: servers may start a request in that of the one before.
    await answer_on_loop(body, Context(), reply, inbox, send)


async def answer_on_loop(
    body: Callable[[], Iterable[bytes]], context: Context, reply: Reply, inbox: Inbox, send: Send
) -> None:
    """Make a body on the loop and send it; a client that leaves cancels it."""

    cooperative = CooperativeYield()

    async def send_some(messages: Sequence[Message]) -> None:
        await send_all(messages, inbox, send)
        await cooperative.after_send()

    def wait_for_server(messages: Sequence[Message]) -> None:
        suspend(send_some(messages))

    left = await _drive(lambda: say(reply, body(), inbox, wait_for_server), context, inbox)
    if left:
        # Others have their turn first. So answers that became ready together go out together: a
        # client is woken once for many, where it would fall asleep after each.
        await asyncio.sleep(0)
        await send_all(left, inbox, send)


async def _drive(
    function: Callable[[], Sequence[Message]], context: Context, inbox: Inbox
) -> Sequence[Message]:
    task = asyncio.current_task()
    assert task is not None
    watch = DisconnectWatch(inbox, task.cancel)
    try:
        return await run_suspendable(function, context)
    except asyncio.CancelledError:
        if not watch.acted:
            raise
        return ()
    finally:
        watch.stop()
        if watch.acted:
            task.uncancel()
