"""Play a WebSocket client behind an ASGI server in this process. Knows no Flask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from asgi_scope import make_scope
from flask_concurrency.asgi.interface import AsgiApplication


class SocketExchange:
    """One WebSocket to an ASGI application, and what becomes of it. To be made on a loop.

    :param path: With the query; percent-encoded.
    :param fields: Header fields of the handshake beside ``Host``.
    :param subprotocols: Those the client offers.
    :param denial: Whether the server can send a whole answer in place of a WebSocket.
    :param scope: What else the scope says.
    :ivar sent: Every message the application sent, in its order.
    :ivar writable: The client takes messages; clear it to hold the application up.
    :ivar held_up: It waits to send until the client takes messages again.
    :ivar task: The application.
    """

    def __init__(
        self,
        asgi: AsgiApplication,
        path: str = "/",
        *,
        fields: Iterable[tuple[str, str]] = (),
        subprotocols: Iterable[str] = (),
        denial: bool = True,
        **scope: Any,
    ) -> None:
        more = {
            "scheme": "ws",
            "subprotocols": list(subprotocols),
            "extensions": {"websocket.http.response": {}} if denial else {},
            **scope,
        }
        self.scope = make_scope("websocket", path, fields, **more)
        self._asgi = asgi
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._said = asyncio.Event()
        self._gone = False
        self.sent: list[dict[str, Any]] = []
        self.writable = asyncio.Event()
        self.writable.set()
        self.held_up = False
        self._receiving = 0
        self._incoming.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(self._serve())

    def say(self, data: str | bytes) -> None:
        """Let a message come in."""
        kind = "text" if isinstance(data, str) else "bytes"
        self._incoming.put_nowait({"type": "websocket.receive", kind: data})

    def leave(self, code: int = 1005, reason: str = "") -> None:
        """Close the connection."""
        self._gone = True
        self.writable.set()
        self.tell_of_the_end(code, reason)

    def tell_of_the_end(self, code: int, reason: str = "") -> None:
        """Report that the client has left, and go on to take what is sent to it, as some do."""
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def hear(self) -> str | bytes | int:
        """The next message that was sent, or the code by which the application closed."""
        while True:
            message = await self.next()
            if message["type"] == "websocket.close":
                code: int = message["code"]
                return code
            if message["type"] == "websocket.send":
                data: str | bytes = message["text"] if "text" in message else message["bytes"]
                return data

    async def next(self) -> dict[str, Any]:
        """The next ASGI message, from the first on."""
        while not self.sent:
            assert not self.task.done() or self.task.result() is None
            assert not self.task.done(), "It ended in silence."
            self._said.clear()
            await self._said.wait()
        return self.sent.pop(0)

    async def end(self) -> list[dict[str, Any]]:
        """Wait for the end, and return what was sent and not received.

        :raises Exception: What the application raised.
        """
        await self.task
        return self.sent

    async def _serve(self) -> None:
        try:
            await self._asgi(self.scope, self._receive, self._send)
        finally:
            self._said.set()

    async def _receive(self) -> dict[str, Any]:
        self._receiving += 1
        assert self._receiving == 1, "Two receive at once."
        try:
            return await self._incoming.get()
        finally:
            self._receiving -= 1

    async def _send(self, message: Any) -> None:
        self.held_up = not self.writable.is_set()
        await self.writable.wait()
        if self._gone:
            raise OSError("The client has left.")  # as spec version 2.4 has it
        assert message["type"] != "websocket.close" or not self._receiving, (
            "Some servers do not close while they are asked for a message."
        )
        self.sent.append(dict(message))
        self._said.set()


@asynccontextmanager
async def opened(asgi: AsgiApplication, path: str, **given: Any) -> AsyncIterator[SocketExchange]:
    """A WebSocket that was accepted, and that ends with the block at the latest."""
    socket = SocketExchange(asgi, path, **given)
    accepted = await socket.next()
    assert accepted["type"] == "websocket.accept", accepted
    yield socket
    if not socket.task.done():
        socket.leave()
    await socket.end()


async def refused(asgi: AsgiApplication, path: str, **given: Any) -> dict[str, Any]:
    """The first message of an answer that is no WebSocket."""
    socket = SocketExchange(asgi, path, **given)
    answer = await socket.next()
    assert answer["type"] != "websocket.accept"
    await socket.end()
    return answer
