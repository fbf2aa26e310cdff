"""Run a request on the server's own event loop, suspended wherever it would wait.

Knows neither how the client's messages come in nor which requests come here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING

from flask_concurrency.asgi.answer import Answer, Body, say, send_all, send_streamed
from flask_concurrency.asgi.cooperative_yield import CooperativeYield
from flask_concurrency.asgi.disconnect_watch import DisconnectWatch
from flask_concurrency.asgi.inbox import Inbox
from flask_concurrency.asgi.interface import Message, Send
from flask_concurrency.asgi.reply import Reply, Streamed
from flask_concurrency.runtime.greenlet_bridge import in_context, run_suspendable, suspend

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


async def serve_on_loop(
    answer: Answer,
    environ: WSGIEnvironment,
    inbox: Inbox,
    send: Send,
) -> None:
    """Answer one request; a client that leaves cancels it.

    :raises Exception: What the application raised and did not answer itself.
    """
    reply = Reply()
    # A context of its own: servers may start a request in that of the one before.
    await answer_on_loop(lambda: answer(environ, reply), Context(), reply, inbox, send)


async def answer_on_loop(
    body: Callable[[], Body],
    context: Context,
    reply: Reply,
    inbox: Inbox,
    send: Send,
) -> None:
    """Make a body on the loop and send it; a client that leaves cancels it."""
    task = asyncio.current_task()
    assert task is not None
    wait_for_server = _Sending(inbox, send)

    def made() -> Sequence[Message] | Streamed:
        answer = body()
        return (
            answer if isinstance(answer, Streamed) else say(reply, answer, inbox, wait_for_server)
        )

    watch = DisconnectWatch(inbox, task.cancel)
    try:
        left = await run_suspendable(made, context)
        if isinstance(left, Streamed):
            await in_context(send_streamed(left, reply, inbox, send, context), context)
            return
    except asyncio.CancelledError:
        if not watch.acted:
            raise
        return
    finally:
        watch.stop()
        if watch.acted:
            task.uncancel()
    await send_all(left, inbox, send)


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
