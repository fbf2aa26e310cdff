"""Play an ASGI server in this process, message by message. Knows no Flask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asgi_scope import make_scope
from flask_concurrency.asgi.interface import AsgiApplication


@dataclass
class Answer:
    """What a server was given to send."""

    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    complete: bool = False
    paths: list[str] = field(default_factory=list)
    """Of files that the server was to send by itself."""

    @property
    def body(self) -> bytes:
        """All that was sent."""
        return b"".join(self.parts)

    @property
    def text(self) -> str:
        """The body, decoded."""
        return self.body.decode()

    def get(self, name: str) -> str | None:
        """The first field of a name."""
        return next((value for key, value in self.fields if key == name.lower()), None)


class Exchange:
    """One request to an ASGI application, and what becomes of it. To be made on a loop.

    :param path: With the query; percent-encoded.
    :param body: Sent in one message at once; ``None`` to send it by :meth:`send`.
    :param fields: Header fields of the request beside ``Host``.
    :param scope: What else the scope says.
    :ivar answer: What was sent so far.
    :ivar left_heard: The application has received that the client left.
    :ivar task: The application.
    """

    def __init__(
        self,
        asgi: AsgiApplication,
        path: str = "/",
        method: str = "GET",
        *,
        body: bytes | None = b"",
        fields: Iterable[tuple[str, str]] = (),
        **scope: Any,
    ) -> None:
        given = list(fields)
        if body and not any(name.lower() == "content-length" for name, _ in given):
            given.append(("content-length", str(len(body))))
        more = {"method": method, "scheme": "http", **scope}
        self.scope = make_scope("http", path, given, **more)
        self._asgi = asgi
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._said = asyncio.Event()
        self.answer = Answer()
        self.left_heard = False
        self._receiving = 0
        if body is not None:
            self.send(body, more=False)
        self.task = asyncio.create_task(self._serve())

    def send(self, body: bytes, *, more: bool = True) -> None:
        """Let a piece of the body come in."""
        self._incoming.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        """Close the connection."""
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def until_parts(self, count: int) -> None:
        """Wait until so many parts of the answer's body were sent."""
        while len(self.answer.parts) < count:
            self._said.clear()
            await self._said.wait()

    async def end(self) -> Answer:
        """Wait for the end, and give the answer.

        :raises Exception: What the application raised.
        """
        await self.task
        return self.answer

    async def _serve(self) -> None:
        await self._asgi(self.scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        self._receiving += 1
        assert self._receiving == 1, "Two receive at once."
        try:
            message = await self._incoming.get()
            self.left_heard = message["type"] == "http.disconnect"
            return message
        finally:
            self._receiving -= 1

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            assert not self.answer.status, "The answer began twice."
            self.answer.status = message["status"]
            self.answer.fields = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message["headers"]
            ]
        else:
            assert self.answer.status, "A body before its status."
            assert not self.answer.complete, "A body after its end."
            path = message.get("path")
            if path is not None:
                assert "http.response.pathsend" in self.scope["extensions"]
                assert Path(path).is_absolute()
                self.answer.paths.append(path)
                message = {"body": Path(path).read_bytes(), "more_body": False}
            if message["body"]:
                self.answer.parts.append(message["body"])
            self.answer.complete = not message["more_body"]
        self._said.set()


async def ask(asgi: AsgiApplication, path: str = "/", method: str = "GET", **given: Any) -> Answer:
    """The answer to one request."""
    return await Exchange(asgi, path, method, **given).end()
