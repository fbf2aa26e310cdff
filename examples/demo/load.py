"""Send many HTTP requests at the very same moment and note when each is answered.

Decides nothing about the servers under load and knows no Flask. Asynchronous, because a thread
for each request would compete with the servers for the processors.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any, cast
from urllib.parse import urlsplit

TIMEOUT = 30.0
"""Seconds for all answers together."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's answer; instants in seconds since the first request was sent.

    :ivar status: The HTTP status; ``None`` if there was no answer.
    :ivar content: What its JSON body held.
    """

    status: int | None
    content: Any
    sent: float
    answered: float


def simultaneously(url: str, *, requests: int) -> list[Answer]:
    """GET ``url`` ``requests`` times at once, each on a connection that is open already.

    :raises OSError: The server takes no connection; ``TimeoutError`` if it is too slow.
    """
    return asyncio.run(asyncio.wait_for(_simultaneously(url, requests), TIMEOUT))


async def _simultaneously(url: str, requests: int) -> list[Answer]:
    parts = urlsplit(url)
    path = parts._replace(scheme="", netloc="").geturl()
    request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode()
    connections = [
        await asyncio.open_connection(parts.hostname, parts.port) for _ in range(requests)
    ]
    started_at = time.monotonic()
    return await asyncio.gather(
        *(_ask(request, reader, writer, started_at) for reader, writer in connections)
    )


async def _ask(
    request: bytes, reader: StreamReader, writer: StreamWriter, started_at: float
) -> Answer:
    sent = time.monotonic() - started_at
    try:
        writer.write(request)
        received = await reader.read(-1)
    except OSError as error:
        return Answer(None, str(error), sent, sent)
    finally:
        writer.close()
    answered = time.monotonic() - started_at
    status, content = _parsed(received)
    return Answer(status, content, sent, answered)


def _parsed(received: bytes) -> tuple[int | None, Any]:
    response = HTTPResponse(cast(Any, _Received(received)))
    try:
        response.begin()
        return response.status, json.loads(response.read())
    except (HTTPException, ValueError) as error:
        return None, str(error)


class _Received:
    """As much of a socket as ``HTTPResponse`` needs."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._received)
