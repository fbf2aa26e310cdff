"""Decide which parts of an answer go out when. Knows neither the loop nor threads.

A short answer is handed over in one go, so that the thread that made it is free before it is sent.
Longer ones, and streams, go out part by part while their maker waits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from flask_concurrency.asgi.environ import SCOPE
from flask_concurrency.asgi.inbox import Inbox
from flask_concurrency.asgi.interface import Message, Send
from flask_concurrency.asgi.reply import PATH_SEND, Reply, Streamed, Whole, close_body

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

Body = Iterable[bytes] | Whole | Streamed


class Answers(ABC):
    """Answers requests: each as a whole, or with a body, once it has begun the reply."""

    @abstractmethod
    def __call__(self, environ: WSGIEnvironment, reply: Reply) -> Body:
        """Answer a request, in a thread."""

    async def awaited(self, environ: WSGIEnvironment, reply: Reply) -> Body:
        """Answer a request on a loop, in code that may be suspended."""
        return self(environ, reply)


class ByWsgi(Answers):
    """The answers of a WSGI application."""

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: WSGIEnvironment, reply: Reply) -> Body:
        """See PEP 3333."""
        return self._wsgi_app(environ, reply.start_response)


SHORT: Final = 65_536
"""Bytes that a server takes whether or not the client reads: what asyncio buffers by itself."""


def reply_to(environ: WSGIEnvironment) -> Reply:
    """The reply to a request, as its server takes it."""
    extensions = environ[SCOPE].get("extensions")
    return Reply(takes_paths=bool(extensions) and PATH_SEND in extensions)


def say(
    reply: Reply,
    body: Iterable[bytes] | Whole,
    inbox: Inbox,
    send: Callable[[Sequence[Message]], object],
) -> Sequence[Message]:
    """Read a body to its end, or until the client has left, and close it.

    :param send: Sends messages and returns when the server has taken them.
    :returns: What is left to send: all of a short answer or of a file that the server sends by its
        path, nothing of another.
    """
    if isinstance(body, Whole):
        return () if inbox.gone else body
    kept: list[Message] = []
    short = True
    try:
        if reply.takes_paths and (by_path := reply.file(body)) is not None:
            return () if inbox.gone else by_path
        for message in reply.messages(body):
            if inbox.gone:
                return ()
            kept.append(message)
            if short:
                begun = message.get("body")
                short = begun is None or (reply.complete and len(begun) <= SHORT)
            if not short:
                send(kept)
                kept = []
            if inbox.gone:  # before more is asked for, which may take long to come
                return ()
        return kept
    finally:
        close_body(body)


async def send_all(messages: Iterable[Message], inbox: Inbox, send: Send) -> None:
    """Hand messages to the server, until it says that the connection is gone."""
    try:
        for message in messages:
            await send(message)
    except OSError:  # what servers say of such a connection
        inbox.gone = inbox.noticed = True
