"""Run a request on the server's own event loop, suspended wherever it would wait.

Knows neither how the client's messages come in nor which requests come here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any

from flask_concurrency.asgi.answer import Answers, Body, reply_to, say, send_all
from flask_concurrency.asgi.cooperative_yield import CooperativeYield
from flask_concurrency.asgi.disconnect_watch import DisconnectWatch
from flask_concurrency.asgi.inbox import Inbox
from flask_concurrency.asgi.interface import Message, Send
from flask_concurrency.asgi.reply import Reply, Streamed, Whole
from flask_concurrency.executors.loop.call import was_cancelled
from flask_concurrency.runtime.greenlet_bridge import (
    in_context,
    run_suspendable,
    stepwise,
    suspend,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Serving = Coroutine[Any, Any, Awaitable[None] | None]
"""Answers a request; what it returns is then to be awaited."""


def serve_on_loop(
    answers: Answers,
    environ: WSGIEnvironment,
    inbox: Inbox,
    send: Send,
) -> Serving:
    """Answer one request; a client that leaves cancels it.

    :returns: What sends a stream, to be awaited when this has been.
    :raises Exception: What the application raised and did not answer itself.
    """
    reply = reply_to(environ)
    # A context of its own: servers may start a request in that of the one before.
    return answer_on_loop(answers.awaited(environ, reply), Context(), reply, inbox, send)


async def answer_on_loop(
    made: Awaitable[Body],
    context: Context,
    reply: Reply,
    inbox: Inbox,
    send: Send,
) -> Awaitable[None] | None:
    """Await a body on the loop and send it; a client that leaves cancels it.

    :returns: What sends a stream, for the caller to await. This coroutine need not be kept while
        thousands are open: it takes 300 bytes (``./scripts/bench event-streams``).
    """
    task = asyncio.current_task()
    assert task is not None
    watch = DisconnectWatch(inbox, task)
    streaming: Coroutine[Any, Any, None] | None = None
    said = _said(made, reply, inbox, send)
    del made  # else a stream would keep it for as long as it is open
    try:
        # Not watched before it waits: most requests never do.
        left = await stepwise(said, context, on_wait=watch.start)
        if isinstance(left, Streamed):
            streaming = _stream(left, reply, inbox, send, context, watch)
            return streaming if left.has_context else in_context(streaming, context)
    except asyncio.CancelledError:
        if not watch.acted:
            raise
        return None
    finally:
        if streaming is None:  # else it goes on watching
            watch.stop()
            if watch.acted:
                task.uncancel()
    if left:
        # Others have their turn first. So answers that became ready together go out together: the
        # client is woken once for many, where each would wake it, and the server wait for it.
        await asyncio.sleep(0)
        await send_all(left, inbox, send)
    return None


async def _stream(
    body: Streamed,
    reply: Reply,
    inbox: Inbox,
    send: Send,
    context: Context,
    watch: DisconnectWatch,
) -> None:
    """Send a body as it comes, until it ends or the client has left; and close it.

    It takes no stack: thousands may wait at once.

    :param context: Closing it may run what the application has left to do then.
    :param watch: Cancels it once the client has left.
    """
    cooperative = CooperativeYield()
    try:
        watch.start()
        try:
            while (piece := body.piece(await body.ask())) is not None:
                if inbox.gone:
                    return
                messages = reply.piece(piece.encode() if isinstance(piece, str) else piece)
                if messages:
                    await send_all(messages, inbox, send)
                    await cooperative.after_send()
                del piece, messages  # the next ones may be long in coming
                if inbox.gone:  # before more is asked for, which may take long to come
                    return
            await body.ended()
            body.sent()
            await send_all(reply.last(), inbox, send)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise was_cancelled("The source of a stream") from error
        finally:
            await run_suspendable(body.close, context)
    except asyncio.CancelledError:
        if not watch.acted:
            raise
    finally:
        watch.stop()
        if watch.acted and (task := asyncio.current_task()) is not None:
            task.uncancel()


async def _said(
    made: Awaitable[Body], reply: Reply, inbox: Inbox, send: Send
) -> Sequence[Message] | Streamed:
    """What is left to send of an answer; a body that is awaited, as it is."""
    body = await made
    if isinstance(body, Streamed):
        return body
    if isinstance(body, Whole):
        return () if inbox.gone else body
    return say(reply, body, inbox, _Sending(inbox, send))


class _Sending:
    """Sends while the code that makes the messages is suspended."""

    __slots__ = ("_cooperative", "_inbox", "_send")

    def __init__(self, inbox: Inbox, send: Send) -> None:
        self._inbox = inbox
        self._send = send
        self._cooperative: CooperativeYield | None = None

    def __call__(self, messages: Sequence[Message]) -> None:
        suspend(self._send_some(messages))

    async def _send_some(self, messages: Sequence[Message]) -> None:
        if self._cooperative is None:
            self._cooperative = CooperativeYield()
        await send_all(messages, self._inbox, self._send)
        await self._cooperative.after_send()
