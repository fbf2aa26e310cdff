"""Name what a handler does with a WebSocket, and check what it says.

Knows neither servers nor threads: the subclasses bring the messages.

The names are those of simple-websocket (https://simple-websocket.readthedocs.io), which Flask-Sock
hands to its handlers.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Final, overload

from flask_concurrency.vocabulary.errors import ConnectionClosed

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
CUT_OFF: Final = 1006
VIOLATION: Final = 1008
TOO_BIG: Final = 1009
FAILED: Final = 1011
TRY_AGAIN: Final = 1013

TOO_BIG_TEXT: Final = "Message is too big"
DRAINING: Final = "The server is going away"

LONGEST_TEXT: Final = 123
"""Bytes that a close frame has for its text: 125, less two for its code (RFC 6455, 5.5)."""


Sendable = str | bytes | bytearray | memoryview


class _Socket(ABC):
    """What both kinds of WebSocket report.

    :ivar subprotocol: The one that was agreed upon; ``None`` for none.
    """

    subprotocol: str | None = None

    @property
    @abstractmethod
    def connected(self) -> bool:
        """Whether it is open, as far as this side knows."""

    @property
    def close_reason(self) -> int | None:
        """The code it was closed with; ``None`` while it is open."""
        return None if self.connected else self._closing()[0]

    @property
    def close_message(self) -> str | None:
        """The reason that came with it."""
        return None if self.connected else self._closing()[1]

    @abstractmethod
    def _closing(self) -> tuple[int, str | None]:
        """Code and text it was closed with."""


class WebSocket(_Socket):
    """An open WebSocket, for plain handlers: each call waits.

    As an iterable it gives the messages that come in, until it ends.
    """

    @overload
    def receive(self, timeout: None = None) -> str | bytes: ...
    @overload
    def receive(self, timeout: float | None) -> str | bytes | None: ...
    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """Wait for a message: text or bytes, as it was sent.

        :param timeout: Seconds to wait at most; ``0`` takes what is there. ``None``: any time.
        :returns: ``None`` if none came in time.
        :raises ConnectionClosed: It has ended, and all that came before was received.
        :raises DeadlineExceeded: A deadline set within the handler passed.
        """
        return self._receive(timeout)

    def send(self, data: Sendable) -> None:
        """Send text or bytes, waiting while the client takes no more.

        :raises ConnectionClosed: It has ended.
        :raises TypeError: ``data`` is neither.
        """
        self._send(checked_message(data))

    def close(self, reason: int | None = None, message: str | None = None) -> None:
        """Close it. One that has ended stays as it is.

        :param reason: The code: 1000, which is the default, to 1014, or 3000 to 4999.
        :param message: For the other side's eyes, 123 bytes at most.
        :raises ValueError: ``reason`` or ``message`` cannot be sent.
        """
        self._close(*checked_closing(reason, message))

    def __iter__(self) -> Iterator[str | bytes]:
        while True:
            try:
                message = self.receive()
            except ConnectionClosed:
                return
            yield message

    @abstractmethod
    def _receive(self, timeout: float | None) -> str | bytes | None: ...
    @abstractmethod
    def _send(self, message: str | bytes) -> None: ...
    @abstractmethod
    def _close(self, code: int, text: str | None) -> None: ...


class AsyncWebSocket(_Socket):
    """An open WebSocket, for ``async`` handlers: what waits is awaited.

    As an asynchronous iterable it gives the messages that come in, until it ends.
    """

    @overload
    async def receive(self, timeout: None = None) -> str | bytes: ...
    @overload
    async def receive(self, timeout: float | None) -> str | bytes | None: ...
    async def receive(self, timeout: float | None = None) -> str | bytes | None:
        """As :meth:`WebSocket.receive`; cancelled, it loses no message."""
        return await self._receive(timeout)

    async def send(self, data: Sendable) -> None:
        """As :meth:`WebSocket.send`."""
        await self._send(checked_message(data))

    async def close(self, reason: int | None = None, message: str | None = None) -> None:
        """As :meth:`WebSocket.close`."""
        await self._close(*checked_closing(reason, message))

    def __aiter__(self) -> AsyncWebSocket:
        return self

    # No generator, and past ``receive``: that took 340 bytes of each of thousands that are idle.
    async def __anext__(self) -> str | bytes:
        try:
            message = await self._receive(None)
        except ConnectionClosed:
            raise StopAsyncIteration from None
        assert message is not None
        return message

    @abstractmethod
    async def _receive(self, timeout: float | None) -> str | bytes | None: ...
    @abstractmethod
    async def _send(self, message: str | bytes) -> None: ...
    @abstractmethod
    async def _close(self, code: int, text: str | None) -> None: ...


def checked_message(data: object) -> str | bytes:
    """What is sent of ``data``.

    :raises TypeError: It is neither text nor bytes.
    """
    if isinstance(data, str | bytes):
        return data
    if isinstance(data, bytearray | memoryview):
        return bytes(data)
    raise TypeError(
        f"send({data!r}): send text or bytes; for anything else say what it is, as in "
        "ws.send(json.dumps(data))."
    )


def checked_closing(reason: int | None, message: str | None) -> tuple[int, str | None]:
    """The code and the text of a close frame.

    :raises ValueError: They cannot stand in one.
    """
    code = NORMAL if reason is None else int(reason)
    if not (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) and not 3000 <= code <= 4999:
        raise ValueError(
            f"close({reason!r}): no such code can be sent. Give 1000 for a normal end, or one of "
            "your own from 4000 to 4999."
        )
    if message is not None and len(message.encode()) > LONGEST_TEXT:
        raise ValueError(f"close(message={message!r}): give {LONGEST_TEXT} bytes at most.")
    return code, message


def closed(reason: int, message: str | None) -> ConnectionClosed:
    """The error to raise; simple-websocket's too, for those who catch that one."""
    theirs: Any = getattr(sys.modules.get("simple_websocket"), "ConnectionClosed", None)
    if theirs is None:  # not imported, so no code can wait for it
        return ConnectionClosed(reason, message)
    both = _both.get(theirs)
    if both is None:
        both = _both[theirs] = type("ConnectionClosed", (ConnectionClosed, theirs), {})
    error: ConnectionClosed = both(reason, message)
    return error


_both: dict[Any, Any] = {}
