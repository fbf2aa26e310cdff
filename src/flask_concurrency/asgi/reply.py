"""Turn what a WSGI application answers into ASGI's messages. Sends and awaits nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flask_concurrency.asgi.file_pieces import WholeFile
from flask_concurrency.asgi.interface import Message

if TYPE_CHECKING:
    from _typeshed import OptExcInfo


PATH_SEND: Final = "http.response.pathsend"
"""The extension by which a server sends a file that it opens itself, and its message."""


_END: Final = object()


class Whole(NamedTuple):
    """A short answer that is complete: the two messages that say it."""

    start: Message
    body: Message


class Streamed(ABC):
    """The body of an answer that has begun, whose pieces come asynchronously.

    :ivar source: Gives the pieces, one after the other.
    :cvar has_context: It gives them in context variables of its own, wherever it is asked.
    """

    __slots__ = ("source",)

    has_context = False

    def __init__(self, source: AsyncIterator[bytes | str]) -> None:
        self.source = source

    def ask(self) -> Awaitable[Any]:
        """Ask for the next piece. What it gives when it has been awaited, :meth:`piece` is given.

        In two, so that nothing but the sender has to wait: of thousands of streams each takes 280
        bytes less so (``./scripts/bench event-streams``).
        """
        return anext(self.source, _END)

    def piece(self, given: Any) -> bytes | str | None:
        """The piece; ``None`` if there are no more."""
        return None if given is _END else given

    async def ended(self) -> None:
        """Let the source end, which has given its last piece."""
        return

    @abstractmethod
    def sent(self) -> None:
        """Take in that there are no more of them."""

    @abstractmethod
    def close(self) -> None:
        """What PEP 3333 demands on every path; it may wait."""


class Reply:
    """One answer: its ``start_response``, and the messages that carry it.

    :ivar takes_paths: The server sends files by their path.
    :ivar started: The first message was given away, so the status stands.
    :ivar complete: The last one was.
    """

    __slots__ = ("_fields", "_left", "_status", "_written", "complete", "started", "takes_paths")

    def __init__(self, *, takes_paths: bool = False) -> None:
        self.takes_paths = takes_paths
        self._status: int | None = None
        self._fields: Sequence[tuple[bytes, bytes]] = ()
        self._written: list[bytes] | None = None
        self._left: int | None = None
        self.started = False
        self.complete = False

    def start_response(
        self, status: str, fields: list[tuple[str, str]], exc_info: OptExcInfo | None = None
    ) -> Callable[[bytes], object]:
        """What the application calls; see PEP 3333."""
        if self._status is not None:
            try:
                if exc_info is None:
                    raise AssertionError("start_response() was called twice without exc_info.")
                if self.started and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        self._status = int(status.partition(" ")[0])
        self._fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields
        ]
        self._left = None
        for name, length in self._fields:
            if name == b"content-length" and length.isdigit():
                self._left = int(length)
        return self._write

    def _write(self, data: bytes) -> None:
        if self._written is None:
            self._written = []
        self._written.append(data)

    def messages(self, body: Iterable[bytes]) -> Iterator[Message]:
        """Yield the answer, each message as soon as its part of the body is there.

        The iteration goes on after the last message, because to the body that means it was sent.

        :raises AssertionError: The body began before ``start_response`` was called.
        """
        for chunk in body:
            if self._written:
                chunk = b"".join([*self._written, chunk])
                self._written.clear()
            if self.complete:
                break  # longer than its Content-Length
            if chunk:
                yield from self._begin()
                yield self._part(chunk)
        if not self.complete:
            yield from self._begin()
            yield self._part(b"".join(self._written or ()), last=True)

    def file(self, body: Iterable[bytes]) -> list[Message] | None:
        """Say a body that is a whole file by the file's path; ``None`` where that cannot be."""
        if not isinstance(body, WholeFile) or self._left is None or self._written:
            return None
        path = body.path(self._left)
        if path is None:
            return None
        messages = [*self._begin(), {"type": PATH_SEND, "path": path}]
        self.complete = True
        return messages

    def piece(self, chunk: bytes) -> list[Message]:
        """Say a piece of a body of unknown length."""
        return [*self._begin(), self._part(chunk)] if chunk else []

    def last(self) -> list[Message]:
        """Say that there is no more of it."""
        return [*self._begin(), self._part(b"", last=True)]

    def _begin(self) -> Iterator[Message]:
        if not self.started:
            if self._status is None:
                raise AssertionError("The application began to answer before start_response().")
            self.started = True
            fields, self._fields = self._fields, ()  # a stream need not keep them
            yield {"type": "http.response.start", "status": self._status, "headers": fields}

    def _part(self, chunk: bytes, *, last: bool = False) -> dict[str, Any]:
        if self._left is not None:
            chunk = chunk[: self._left]
            self._left -= len(chunk)
            last = last or self._left == 0
        self.complete = last
        return {"type": "http.response.body", "body": chunk, "more_body": not last}


def close_body(body: Iterable[bytes]) -> None:
    """Close a body that is read no more, as PEP 3333 demands on every path."""
    close: Callable[[], object] | None = getattr(body, "close", None)
    if close is not None:
        close()
