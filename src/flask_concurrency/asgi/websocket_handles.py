"""Give handlers the two kinds of WebSocket, on a connection of an ASGI server.

Knows how code waits for a loop; knows no message.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from typing import Any, TypeVar

from flask_concurrency.asgi.websocket_connection import Connection
from flask_concurrency.executors.loop.deadline import in_time, time_left
from flask_concurrency.runtime.greenlet_bridge import can_suspend, suspend
from flask_concurrency.vocabulary.errors import LoopBlocked
from flask_concurrency.vocabulary.websocket import (
    DRAINING,
    GOING_AWAY,
    AsyncWebSocket,
    WebSocket,
    closed,
)

T = TypeVar("T")


class _OnConnection:
    """What both kinds report of their connection."""

    def __init__(self, connection: Connection, subprotocol: str | None) -> None:
        self._connection = connection
        self.subprotocol = subprotocol

    @property
    def connected(self) -> bool:
        return self._connection.connected

    def _closing(self) -> tuple[int, str | None]:
        return self._connection.closing


class AsgiWebSocket(_OnConnection, WebSocket):
    """For plain code, in any thread; on the loop only where that code can be suspended."""

    def _receive(self, timeout: float | None) -> str | bytes | None:
        return self._wait("receive", self._connection.receive(timeout))

    def _send(self, message: str | bytes) -> None:
        self._wait("send", self._connection.send(message))

    def _close(self, code: int, text: str | None) -> None:
        self._wait("close", self._connection.close(code, text))

    def awaitable(self) -> AsyncWebSocket:
        """The same one for coroutines."""
        return AsyncAsgiWebSocket(self._connection, self.subprotocol)

    def finish(self) -> None:
        """Do nothing: the connection is ended where it was begun."""

    def _wait(self, name: str, coroutine: Coroutine[Any, Any, T]) -> T:
        seconds = time_left()
        if seconds is not None:
            coroutine = in_time(coroutine, seconds, f"ws.{name}")
        if can_suspend():
            return suspend(coroutine)
        if _running_loop() is self._connection.loop:
            coroutine.close()
            raise LoopBlocked(
                f"ws.{name}() was called on the event loop, which would wait for itself. Make the "
                f"handler async, and await ws.{name}()."
            )
        # Not by way of the app's loop executor: a thread that waits there makes room for another,
        # and here each is to hold its own.
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._connection.loop).result()
        except concurrent.futures.CancelledError:  # by a server that ends
            raise closed(GOING_AWAY, DRAINING) from None
        except RuntimeError:
            if not self._connection.loop.is_closed():
                raise
            coroutine.close()
            raise closed(GOING_AWAY, DRAINING) from None


class AsyncAsgiWebSocket(_OnConnection, AsyncWebSocket):
    """For coroutines on the server's loop."""

    # Not ``async``: a coroutine that only awaits another one takes 240 bytes while it does.
    def _receive(self, timeout: float | None) -> Coroutine[Any, Any, str | bytes | None]:
        return self._connection.receive(timeout)

    def _send(self, message: str | bytes) -> Coroutine[Any, Any, None]:
        return self._connection.send(message)

    def _close(self, code: int, text: str | None) -> Coroutine[Any, Any, None]:
        return self._connection.close(code, text)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
