"""Exchange the messages of one WebSocket with an ASGI server, on its loop.

Knows neither handlers nor the application that accepts or refuses it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from flask_concurrency.asgi.cooperative_yield import CooperativeYield
from flask_concurrency.asgi.interface import Message, Receive, Scope, Send
from flask_concurrency.asgi.waiters import Waiters
from flask_concurrency.runtime.drain import Drain
from flask_concurrency.vocabulary.errors import ConnectionClosed
from flask_concurrency.vocabulary.safe_logger import SafeLogger
from flask_concurrency.vocabulary.websocket import (
    CUT_OFF,
    DRAINING,
    GOING_AWAY,
    TOO_BIG,
    TOO_BIG_TEXT,
    TRY_AGAIN,
    VIOLATION,
    closed,
)

logger = SafeLogger("flask_concurrency.asgi")

CLOSES_WITHIN: Final = 5.0
"""Seconds that a server gets to say goodbye, where its client does not answer that."""

READ_AHEAD: Final = 16
"""Messages that are read before the handler asks for them, so that one that only sends notices
when the client leaves. If the handler never asks, back-pressure stops the client."""

DENIAL: Final = "websocket.http.response"
"""The extension by which a server sends a whole answer in place of a WebSocket."""


class Connection:
    """One WebSocket, from its handshake to its end.

    :ivar loop: The server's, on which every method runs.
    :ivar accepted: The handshake was answered with a WebSocket.
    :ivar ended: Code and text it was closed with; ``None`` while it is open.
    """

    __slots__ = (
        "_can_answer",
        "_cooperative",
        "_drain",
        "_goodbye",
        "_messages",
        "_news",
        "_reader",
        "_receive",
        "_room",
        "_send",
        "_sending",
        "_ticket",
        "_timeout",
        "accepted",
        "ended",
        "loop",
        "offered",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.offered: Sequence[str] = scope.get("subprotocols") or ()
        self._can_answer = DENIAL in (scope.get("extensions") or {})
        self.loop = asyncio.get_running_loop()
        self.accepted = False
        self.ended: tuple[int, str | None] | None = None
        self._messages: deque[str | bytes] | None = None  # takes 760 bytes; most are idle
        self._news = Waiters()
        self._room: Waiters | None = None
        self._sending = asyncio.Lock()
        self._cooperative = CooperativeYield()
        self._timeout: asyncio.Timeout | None = None
        self._reader: asyncio.Task[None] | None = None
        self._goodbye: asyncio.Task[None] | None = None
        self._drain: Drain | None = None
        self._ticket: Callable[[], object] | None = None

    @property
    def connected(self) -> bool:
        """Whether messages can be sent, as far as is known."""
        return self.accepted and self.ended is None

    @property
    def closing(self) -> tuple[int, str | None]:
        """Code and text it was closed with; those of a cut before either side has closed it."""
        return self.ended or (CUT_OFF, None)

    def closed(self) -> ConnectionClosed:
        """The error that reports its end."""
        return closed(*self.closing)

    async def begin(self) -> None:
        """Receive the handshake.

        :raises RuntimeError: The server sent something else.
        """
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._end(message.get("code") or CUT_OFF, None)
        elif message["type"] != "websocket.connect":
            raise RuntimeError(
                f"The server sent {message['type']!r}, where 'websocket.connect' comes first."
            )

    async def accept(
        self, subprotocol: str | None, *, max_message_size: int | None, drain: Drain
    ) -> None:
        """Answer the handshake with a WebSocket, and begin to receive messages.

        :param max_message_size: Characters or bytes of a message; a larger one ends it.
        :param drain: Ends it, when it begins.
        :raises ConnectionClosed: The client has left.
        """
        if self.ended is not None:
            raise self.closed()
        try:
            await self._send({"type": "websocket.accept", "subprotocol": subprotocol})
        except OSError as error:
            self._end(CUT_OFF, None)
            raise self.closed() from error
        self.accepted = True
        self._reader = self.loop.create_task(self._take_in(max_message_size))
        self._drain = drain
        self._ticket = drain.call(self._end_soon)

    async def deny(self, answer: Iterable[Message]) -> None:
        """Answer the handshake as any other request, where the server can do that.

        Others are told to close, which clients see as 403.

        :param answer: The messages of an HTTP response.
        """
        if self.ended is not None:
            return
        messages = list(answer)
        self._end(VIOLATION, None)
        if not self._can_answer:
            busy = messages[0]["status"] in (429, 503)
            messages = [{"type": "websocket.close", "code": TRY_AGAIN if busy else VIOLATION}]
        for message in messages:
            kind = message["type"].replace("http.response", DENIAL)
            await self._send({**message, "type": kind})

    async def receive(self, timeout: float | None) -> str | bytes | None:
        """The next message; ``None`` if there is none in time.

        :raises ConnectionClosed: It has ended, and nothing is left.
        """
        if timeout is not None:
            try:
                async with asyncio.timeout(timeout):
                    return await self.receive(None)
            except TimeoutError:
                return self._messages.popleft() if self._messages else None
        while not self._messages:
            if self.ended is not None:
                raise self.closed()
            await self._news.wait()
        if self._room is not None:
            self._room.wake()
        return self._messages.popleft()

    async def send(self, data: str | bytes) -> None:
        """Send a message, waiting while the server takes no more.

        :raises ConnectionClosed: It has ended.
        """
        kind = "text" if isinstance(data, str) else "bytes"
        async with self._sending:
            if self.ended is not None:
                raise self.closed()
            try:
                async with asyncio.timeout(None) as self._timeout:
                    await self._send({"type": "websocket.send", kind: data})
            except (OSError, RuntimeError) as error:  # as each server has it
                self._end(CUT_OFF, None)
                raise self.closed() from error
            finally:
                self._timeout = None
        await self._cooperative.after_send()

    async def close(self, code: int, text: str | None) -> None:
        """Close it, unless it has ended."""
        self._close(code, text)
        if self._goodbye is not None:
            await asyncio.wait({self._goodbye})  # which goes on if this is cancelled

    async def finish(self) -> None:
        """Receive no more messages, and leave nothing behind."""
        if self._drain is not None:
            self._drain.forget(self._ticket)
        self.abandon()
        await self._stop_reading()
        if self._goodbye is not None:
            await asyncio.wait({self._goodbye})

    def _end_soon(self) -> None:
        self.loop.call_soon_threadsafe(self.abandon)

    def abandon(self) -> None:
        """Notify client and handler that it has ended, unless they know."""
        if self.accepted:
            self._close(GOING_AWAY, DRAINING)
        else:
            self._end(GOING_AWAY, None)
        self._stop_sending()

    def _end(self, code: int, text: str | None) -> None:
        if self.ended is None:
            self.ended = code, text
        self._news.wake()

    def _close(self, code: int, text: str | None) -> None:
        if self.ended is None:
            self._end(code, text)
            self._goodbye = self.loop.create_task(self._say_goodbye(code, text))

    async def _say_goodbye(self, code: int, text: str | None) -> None:
        # Granian (2.8) closes nothing while it is asked for a message.
        await self._stop_reading()
        with suppress(OSError, RuntimeError):  # the client was faster, or does not read
            async with asyncio.timeout(CLOSES_WITHIN), self._sending:
                await self._send({"type": "websocket.close", "code": code, "reason": text or ""})

    def _stop_sending(self) -> None:
        """Stop waiting for the client to read: gunicorn (27) goes on although it has left."""
        if self._timeout is not None:
            self._timeout.reschedule(self.loop.time())
            self._timeout = None

    async def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait({self._reader})

    async def _take_in(self, max_message_size: int | None) -> None:
        try:
            while self.ended is None:
                self._take(await self._receive(), max_message_size)
                while self._messages is not None and len(self._messages) >= READ_AHEAD:
                    if self._room is None:
                        self._room = Waiters()
                    await self._room.wait()
        except Exception:
            logger.exception("The server cannot tell any more what a client sends")
            self._end(CUT_OFF, None)

    def _take(self, message: Message, max_message_size: int | None) -> None:
        if message["type"] != "websocket.receive":
            self._end(message.get("code") or CUT_OFF, message.get("reason") or None)
            self._stop_sending()
            return
        text = message.get("text")
        data: str | bytes = (message.get("bytes") or b"") if text is None else text
        if max_message_size is not None and len(data) > max_message_size:
            self._close(TOO_BIG, TOO_BIG_TEXT)
            return
        if self._messages is None:
            self._messages = deque()
        self._messages.append(data)
        self._news.wake()
