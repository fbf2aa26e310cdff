"""Run a request whole on a thread of the pool, and send from the loop what it answers.

Knows neither how the client's messages come in nor which requests come here.

A short answer is handed over in one go. Longer ones, and streams, go out part by part while their
thread waits: a generator may keep what belongs to one thread, such as a SQLite connection. A body
that says it is portable leaves the thread and is read on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flask_concurrency.asgi.environ import PORTABLE
from flask_concurrency.asgi.inbox import READ_AHEAD, Inbox
from flask_concurrency.asgi.input_stream import declared_length
from flask_concurrency.asgi.interface import Message, Send
from flask_concurrency.asgi.on_loop import drive, send_body
from flask_concurrency.asgi.reply import Reply, close_body
from flask_concurrency.asgi.watch import Watch
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.own_context import OwnContext
from flask_concurrency.executors.threads import ThreadExecutor

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

SHORT: Final = 65_536
"""Bytes that a server takes whether or not the client reads: what asyncio buffers by itself."""


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
        watch = Watch(self._inbox, future.cancel)
        try:
            answer = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._inbox.gone = True  # so that whatever the thread still says is dropped
            future.add_done_callback(_close_unread)
            if not watch.acted:
                raise
            return
        finally:
            watch.stop()
        if isinstance(answer, Portable):
            await drive(partial(self._read_on_loop, answer.body), self._own.context, self._inbox)
        elif answer is not None:
            await self._sending(*answer)

    async def _await_body(self) -> None:
        """Take in a short body, or the beginning of a long one, so that no thread waits for it."""
        length = declared_length(self._environ)
        if not length or "HTTP_EXPECT" in self._environ:
            return  # there is none, or the client waits to be asked for it
        if self._max_body is None or length <= self._max_body:  # else it is refused unread
            await self._inbox.read_ahead(min(length, READ_AHEAD))

    def _work(self) -> list[Message] | Portable | None:
        """Runs in the thread. Gives a short answer, or the body that is to be read on the loop."""
        body = self._wsgi_app(self._environ, self._reply.start_response)
        if PORTABLE in self._environ:
            return Portable(body)
        try:
            return self._say(self._reply.messages(body))
        finally:
            close_body(body)

    def _say(self, messages: Iterator[Message]) -> list[Message] | None:
        kept: list[Message] | None = []
        for message in messages:
            if self._inbox.gone:
                return None
            if kept is not None:
                kept.append(message)
                body = message.get("body")
                if body is None or (self._reply.complete and len(body) <= SHORT):
                    continue
                self._loop.run(self._sending(*kept))
                kept = None
            else:
                self._loop.run(self._sending(message))
        return kept

    async def _sending(self, *messages: Message) -> None:
        try:
            for message in messages:
                await self._send(message)
        except OSError:  # what servers say of a connection that is gone
            self._inbox.gone = True

    def _read_on_loop(self, body: Iterable[bytes]) -> None:
        send_body(self._reply, body, self._inbox, self._send)


def _close_unread(future: Future[Any]) -> None:
    """Close a body that came when nobody was there any more to read it."""
    if not future.cancelled() and future.exception() is None:
        answer = future.result()
        if isinstance(answer, Portable):
            close_body(answer.body)
