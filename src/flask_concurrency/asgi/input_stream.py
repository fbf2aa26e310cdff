"""Make the file that a WSGI application reads its request body from.

Waits as its reader can: suspended on the loop, blocking in a thread. Knows no message.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from flask_concurrency.asgi.inbox import Inbox
from flask_concurrency.executors.loop import LoopThread

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from _typeshed.wsgi import WSGIEnvironment

PIECE = 65_536
"""Bytes that are buffered; what servers hand over at once."""


def input_of(
    environ: WSGIEnvironment, inbox: Inbox, loop: LoopThread, max_body: Callable[[], int | None]
) -> io.BufferedIOBase:
    """The ``wsgi.input`` of a request.

    :param max_body: Gives the bytes that may be read of a body whose length was not declared; the
        length of others is judged by the application. Asked while the body is read.
    """
    length = declared_length(environ)
    if length == 0 or (length is None and not _may_follow(environ)):
        return io.BytesIO()
    return io.BufferedReader(_Body(lambda: loop.run(inbox.piece()), length, max_body), PIECE)


def declared_length(environ: WSGIEnvironment) -> int | None:
    """What ``Content-Length`` says; ``None`` where it says nothing of use."""
    if "HTTP_TRANSFER_ENCODING" in environ:
        return None  # which overrules it (RFC 9112, 6.3)
    text = environ.get("CONTENT_LENGTH", "")
    return int(text) if text.isascii() and text.isdecimal() else None


def _may_follow(environ: WSGIEnvironment) -> bool:
    """Whether a body of unknown length may follow: chunked, or as HTTP/2 and 3 send it."""
    protocol: str = environ["SERVER_PROTOCOL"]
    return "HTTP_TRANSFER_ENCODING" in environ or not protocol.startswith("HTTP/1")


class _Body(io.RawIOBase):
    """Reads the pieces of a body as one.

    :param next_piece: Waits for the next piece; empty at the end, ``None`` if it never comes.
    :param length: Bytes to expect; what comes after them is no part of the body.
    :param max_body: Gives the bytes that a body without ``length`` may have; ``None`` for any.
    """

    def __init__(
        self,
        next_piece: Callable[[], bytes | None],
        length: int | None,
        max_body: Callable[[], int | None],
    ) -> None:
        self._next_piece = next_piece
        self._left = length
        self._max_body = max_body
        self._rest = memoryview(b"")
        self._ahead: list[bytes] = []
        self._came = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Wait for one piece at most.

        :raises ClientDisconnected: The client left before the end.
        :raises RequestEntityTooLarge: More has come than may be read.
        """
        if self._left == 0:
            return 0
        if not self._rest:
            piece = self._ahead.pop() if self._ahead else self._take_in()
            if self._left is None:
                self._refuse_too_much()
            self._rest = memoryview(piece)
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._rest))
        if self._left is not None:
            size = min(size, self._left)
            self._left -= size
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def _take_in(self) -> bytes:
        piece = self._next_piece()
        if piece is None or (not piece and self._left is not None):
            raise ClientDisconnected
        self._came += len(piece)
        return piece

    def _refuse_too_much(self) -> None:
        """Werkzeug stops at the bound without a look at what follows: half a body would be whole.

        So at the bound itself one piece more is waited for; it should be the empty last one.
        """
        most = self._max_body()
        if most is None:
            return
        if self._came == most and not self._ahead:
            self._ahead.append(self._take_in())
        if self._came > most:
            raise RequestEntityTooLarge
