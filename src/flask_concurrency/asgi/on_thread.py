"""Run a request whole on a thread of the pool, and send from the loop what it answers.

Knows neither how the client's messages come in nor which requests come here.

A short answer is handed over in one go. Longer ones, and streams, go out part by part while their
thread waits: a generator may keep what belongs to one thread, such as a SQLite connection. A body
that says it is portable leaves the thread and is read on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextvars import Context
from typing import TYPE_CHECKING, Final, NamedTuple

from flask_concurrency.asgi.environ import PORTABLE
from flask_concurrency.asgi.inbox import READ_AHEAD, Inbox
from flask_concurrency.asgi.input_stream import declared_length
from flask_concurrency.asgi.interface import Message, Send
from flask_concurrency.asgi.reply import Reply, close_body
from flask_concurrency.asgi.watch import Watch
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.own_context import OwnContext
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.vocabulary.suspension import Driving, suspend

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
            if isinstance(answer, list):
                for message in answer:
                    await self._send(message)
            elif answer is not None:
                body = answer.body
                await Driving(lambda: self._read_on_loop(body), self._own.context)
        except asyncio.CancelledError:
            self._inbox.gone = True  # so that whatever the thread still says is dropped
            if not watch.acted:
                raise
        finally:
            watch.stop()

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
        for message in messages:
            await self._send(message)

    def _read_on_loop(self, body: Iterable[bytes]) -> None:
        try:
            for message in self._reply.messages(body):
                if self._inbox.gone:
                    break
                suspend(self._send(message))
        finally:
            close_body(body)
