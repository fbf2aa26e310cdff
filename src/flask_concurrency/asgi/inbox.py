"""Receive what the client sends: its body piece by piece, and its disconnect.

Knows messages; knows neither WSGI nor what is done with the body.
"""

from __future__ import annotations

import asyncio
from collections import deque

from flask_concurrency.asgi.interface import Message, Receive

READ_AHEAD = 65_536
"""Bytes of a body that are read before the application asks for them. If it never asks,
back-pressure stops the client."""


class Inbox:
    """The messages of one request, in their order, for a reader and a watch at once.

    :ivar receive: The server's; awaited by one of the two at a time, by the watch alone once the
        body has ended.
    :ivar ended: The whole body has come in.
    :ivar gone: The client has left, or the answer is complete.
    :ivar noticed: The sender of the answer has found that out by itself.
    """

    __slots__ = ("_ahead", "_lock", "_read", "_size", "ended", "gone", "noticed", "receive")

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self._ahead: deque[bytes] | None = None  # takes 760 bytes; most requests have no body
        self._size = 0
        self._lock: asyncio.Lock | None = None
        self._read: asyncio.Event | None = None
        self.ended = False
        self.gone = False
        self.noticed = False

    async def piece(self) -> bytes | None:
        """The next piece of the body; empty at its end, ``None`` if the client left before."""
        while not self._ahead and not self.ended and not self.gone:
            await self._take_in()
        if not self._ahead:
            return b"" if self.ended else None
        piece = self._ahead.popleft()
        self._size -= len(piece)
        if self._read is not None:
            self._read.set()
        return piece

    async def read_ahead(self, size: int = READ_AHEAD) -> None:
        """Receive so many bytes of the body, or all there are if those are fewer."""
        while self._size < size and not self.ended and not self.gone:
            await self._take_in()

    async def until_ended(self) -> bool:
        """Return when the whole body has come in, or the client has left.

        :returns: False if there is no telling any more.
        """
        while not self.ended and not self.gone:
            if self._size < READ_AHEAD:
                if not await self._take_in():
                    return False
            else:
                self._read = asyncio.Event()
                await self._read.wait()
        return True

    async def _take_in(self) -> bool:
        """Await one more message; return false if it is one that must not follow.

        :raises RuntimeError: The server sent something else than a body and a disconnect.
        """
        known = self._size, self.ended, self.gone
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            if known != (self._size, self.ended, self.gone):
                return True  # the other one was waiting already, and something has come
            return self.note(await self.receive())

    def note(self, message: Message) -> bool:
        """Take in a message; return false if it is one that must not follow.

        :raises RuntimeError: It is something else than a body and a disconnect.
        """
        kind = message.get("type")
        if kind == "http.disconnect":
            self.gone = True
        elif kind != "http.request":
            raise RuntimeError(
                f"The server sent {kind!r}, where 'http.request' or 'http.disconnect' follows."
            )
        elif self.ended:
            return False
        else:
            body = message.get("body") or b""
            if body:
                if self._ahead is None:
                    self._ahead = deque()
                self._ahead.append(body)
                self._size += len(body)
            self.ended = not message.get("more_body", False)
            if self.ended:
                self._lock = None  # nothing but a disconnect follows, which the watch alone awaits
        return True
