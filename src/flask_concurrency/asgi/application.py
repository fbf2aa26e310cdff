"""Receive the scopes of an ASGI server, and decide what handles each.

Knows scopes; knows no Flask: which requests run on the loop is decided outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from flask_concurrency.asgi.admission import LET_ON, Admission
from flask_concurrency.asgi.answer import Answers, ByWsgi
from flask_concurrency.asgi.environ import make_environ
from flask_concurrency.asgi.inbox import Inbox
from flask_concurrency.asgi.input_stream import input_of
from flask_concurrency.asgi.interface import Receive, Scope, Send
from flask_concurrency.asgi.lifespan import ServerLife
from flask_concurrency.asgi.on_loop import Serving, serve_on_loop
from flask_concurrency.asgi.on_thread import ThreadRequest
from flask_concurrency.asgi.thread_answers import ThreadAnswers
from flask_concurrency.asgi.websocket import serve_websocket
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.vocabulary.errors import QueueFull
from flask_concurrency.vocabulary.permit import Ending

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment


class AsgiBridge:
    """An ASGI 3 application that answers with a WSGI application.

    :param wsgi_app: Answers every request.
    :param runs_on_loop: Says of a request whether it is for the loop, and not for a thread.
    :param threads: Where the other requests run.
    :param sockets: Where WebSockets that are not for the loop live.
    :param loop: Becomes the server's loop, for all that use it.
    :param busy: Answers in place of ``wsgi_app`` where ``threads`` takes no more.
    :param ending: Answers in place of ``wsgi_app`` once the server ends.
    :param late: Answers in place of a plain view that blocks past its deadline.
    :param life: The server's start and end.
    :ivar lifespan: ``async with asgi.lifespan():`` does in the lifespan of another application,
        which this one is mounted in, what the server's lifespan does otherwise.
    :param max_body: Gives the bytes of a body that are read at all; ``None`` for any number.
    :param admit: Asked for every HTTP request; ``None`` to let all on.
    :param answers: Answer in place of ``wsgi_app``, to the same effect.
    """

    def __init__(
        self,
        wsgi_app: WSGIApplication,
        *,
        runs_on_loop: Callable[[WSGIEnvironment], bool],
        threads: ThreadExecutor,
        sockets: ThreadExecutor,
        loop: LoopThread,
        busy: WSGIApplication,
        ending: WSGIApplication,
        late: WSGIApplication,
        life: ServerLife,
        max_body: Callable[[], int | None] = lambda: None,
        admit: Callable[[Scope, Receive], Admission] | None = None,
        answers: Answers | None = None,
    ) -> None:
        self._answers = ByWsgi(wsgi_app) if answers is None else answers
        self._runs_on_loop = runs_on_loop
        self._threads = threads
        self._sockets = sockets
        self._loop = loop
        self._busy = ByWsgi(busy)
        self._ending = ByWsgi(ending)
        self._late = late
        self._life = life
        self.lifespan = life.within
        self._max_body = max_body
        self._admit = admit
        self._told: ThreadAnswers | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope.

        :raises ValueError: It is of a kind that is not served.
        """
        self._loop.adopt()
        if self._loop.opening is not None:
            await asyncio.wait({self._loop.opening})
            self._loop.opening = None
        kind = scope["type"]
        if kind == "http":
            self._life.request_begins()
            try:
                admission = LET_ON if self._admit is None else self._admit(scope, receive)
                if admission.answer is None and admission.permit is None:
                    rest = await self._serve_request(scope, receive, send, admission.marks)
                    if rest is not None:
                        await rest
                else:
                    await self._serve_admitted(admission, scope, receive, send)
            finally:
                self._life.request_ends()
        elif kind == "lifespan":
            await self._life.serve(receive, send)
        elif kind == "websocket":
            await serve_websocket(
                scope,
                receive,
                send,
                answers=self._answers,
                runs_on_loop=self._runs_on_loop,
                threads=self._sockets,
                busy=self._busy,
            )
        else:
            raise ValueError(
                f"A scope of type {kind!r} is not served; 'http', 'websocket' and 'lifespan' are."
            )

    async def _serve_admitted(
        self, admission: Admission, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if admission.answer is not None:
            await admission.answer(send)
            return
        ending = Ending.ABANDONED
        try:
            rest = await self._serve_request(scope, receive, send, admission.marks)
            if rest is not None:
                await rest
            ending = Ending.COMPLETED
        finally:
            permit = admission.permit
            if permit is not None and permit.ending is None:
                permit.release(ending)

    def _serve_request(
        self, scope: Scope, receive: Receive, send: Send, marks: Mapping[str, object]
    ) -> Serving:
        inbox = Inbox(receive)
        environ = make_environ(scope)
        environ.update(marks)
        if self._life.ending:
            return serve_on_loop(self._ending, environ, inbox, send)
        environ["wsgi.input"] = input_of(environ, inbox, self._loop, self._max_body)
        if self._runs_on_loop(environ):
            return serve_on_loop(self._answers, environ, inbox, send)
        return self._serve_on_thread(environ, inbox, send)

    async def _serve_on_thread(
        self, environ: WSGIEnvironment, inbox: Inbox, send: Send
    ) -> Awaitable[None] | None:
        loop = asyncio.get_running_loop()
        told = self._told
        if told is None or told.loop is not loop:
            # Kept in a local, too: an app that serves two loops replaces it at any time.
            self._told = told = ThreadAnswers(loop)
        request = ThreadRequest(
            self._answers,
            environ,
            inbox,
            send,
            threads=self._threads,
            loop=self._loop,
            told=told,
            late=self._late,
            max_body=self._max_body,
        )
        try:
            return await request.serve()
        except QueueFull:
            if request.started:
                raise
            return await serve_on_loop(self._busy, environ, inbox, send)
