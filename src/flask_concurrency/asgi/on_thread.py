"""Run a request whole on a thread of the pool, and send from the loop what it answers.

Knows neither how the client's messages come in nor which requests come here.

A body that has begun to go out keeps its thread: a generator may keep what belongs to one thread,
such as a SQLite connection. A body that says it is portable leaves the thread and is read on the
loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from flask_concurrency.asgi.answer import say, send_all
from flask_concurrency.asgi.disconnect_watch import DisconnectWatch
from flask_concurrency.asgi.environ import PORTABLE
from flask_concurrency.asgi.inbox import READ_AHEAD, Inbox
from flask_concurrency.asgi.input_stream import declared_length
from flask_concurrency.asgi.interface import Message, Send
from flask_concurrency.asgi.on_loop import answer_on_loop
from flask_concurrency.asgi.reply import Reply, close_body
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.own_context import OwnContext
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.executors.waiting import loop_here

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment


class Portable(NamedTuple):
    """A body that may be read anywhere."""

    body: Iterable[bytes]


class ThreadRequest:
    """One request, its thread, and what they tell each other.

    :param threads: The pool.
    :param loop: The server's loop.
    :param max_body: Bytes of a body that are read at all; ``None`` for any number.
    :ivar started: The pool has taken it.
    """

    def __init__(
        self,
        wsgi_app: WSGIApplication,
        environ: WSGIEnvironment,
        inbox: Inbox,
        send: Send,
        *,
        threads: ThreadExecutor,
        loop: LoopThread,
        max_body: int | None = None,
    ) -> None:
        self._wsgi_app = wsgi_app
        self._environ = environ
        self._inbox = inbox
        self._send = send
        self._threads = threads
        self._loop = loop
        self._max_body = max_body
        self._own = OwnContext(Context())
        self._reply = Reply()
        self._sender: asyncio.Task[Any] | None = None
        self.started = False

    async def serve(self) -> None:
        """Answer the request.

        :raises QueueFull: The pool has no place for it.
        :raises Exception: What the application raised and did not answer itself.
        """
        await self._await_body()
        if self._inbox.gone:
            return
        future = self._threads.submit_in(self._own, self._work)
        self.started = True
        watch = DisconnectWatch(self._inbox, partial(self._let_go, future))
        try:
            answer = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._let_go(future)
            future.add_done_callback(self._close_unread)
            if not watch.acted:
                raise
            return
        finally:
            watch.stop()
        if isinstance(answer, Portable):
            await answer_on_loop(
                lambda: answer.body, self._own.context, self._reply, self._inbox, self._send
            )
        else:
            await send_all(answer, self._inbox, self._send)

    async def _await_body(self) -> None:
        """Take in a short body, or the beginning of a long one, so that no thread waits for it."""
        length = declared_length(self._environ)
        if not length or "HTTP_EXPECT" in self._environ:
            return  # there is none, or the client waits to be asked for it
        if self._max_body is None or length <= self._max_body:  # else it is refused unread
            await self._inbox.read_ahead(min(length, READ_AHEAD))

    def _work(self) -> Sequence[Message] | Portable:
        """Runs in the thread. Gives what is left to send, or a body to be read on the loop."""
        body = self._wsgi_app(self._environ, self._reply.start_response)
        if PORTABLE in self._environ:
            return Portable(body)
        return say(self._reply, body, self._inbox, self._wait_for_server)

    def _wait_for_server(self, messages: Sequence[Message]) -> None:
        self._loop.run(self._sending(messages))

    async def _sending(self, messages: Sequence[Message]) -> None:
        self._sender = asyncio.current_task()
        try:
            if not self._inbox.gone:
                await send_all(messages, self._inbox, self._send)
        except asyncio.CancelledError:
            if not self._inbox.gone:
                raise
        finally:
            self._sender = None

    def _let_go(self, future: Future[Any]) -> None:
        """Drop whatever the thread still says, and let it not wait for those who are not there."""
        self._inbox.gone = True
        future.cancel()
        if self._sender is not None:  # gunicorn (27) would wait for ever until the client reads
            self._sender.cancel()

    def _close_unread(self, future: Future[Any]) -> None:
        """Close a body that came when nobody was there any more to read it."""
        if future.cancelled() or future.exception() is not None:
            return
        answer = future.result()
        if not isinstance(answer, Portable):
            return
        if loop_here() is None:
            close_body(answer.body)
        else:  # it came at that very moment, and the loop cannot wait for its end here
            self._threads.submit_in(self._own, close_body, answer.body)
