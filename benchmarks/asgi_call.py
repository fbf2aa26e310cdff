"""Call an ASGI application the way a server does, with as little around it as can be.

Knows ASGI alone: no server, no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from benchmarks.wsgi_call import WrongAnswer

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApplication = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def scope_of(path: str) -> dict[str, Any]:
    """What a server says of ``GET path``; the headers are those of a plain command-line client."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"user-agent", b"curl/8.5.0"),
            (b"accept", b"*/*"),
        ],
        "client": ("198.51.100.1", 40_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def request(app: AsgiApplication, path: str, body: bytes) -> None:
    """Send ``GET path`` and read the answer to its end.

    :param body: What the app must answer.
    :raises WrongAnswer: It answered something else.
    """
    received: list[Message] = []
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if asked:
            await asyncio.get_running_loop().create_future()  # the client stays
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        received.append(message)

    await app(scope_of(path), receive, send)
    answered = b"".join(message.get("body", b"") for message in received)
    if received[0]["status"] != 200 or answered != body:
        raise WrongAnswer(f"GET {path}: {received[0]['status']} and {answered[:100]!r}")


@contextmanager
def on_a_loop(
    app: AsgiApplication, path: str, body: bytes, clock: Callable[[], float]
) -> Iterator[Callable[[int, int], float]]:
    """Make a call that sends so many requests, so many times; it gives the seconds each time took.

    Each request is a task of its own, as on a server.

    :param clock: What tells the time, of the day or of the processor.
    """

    async def send(at_once: int, times: int) -> float:
        loop = asyncio.get_running_loop()
        begun_at = clock()
        for _ in range(times):
            await asyncio.gather(
                *[loop.create_task(request(app, path, body)) for _ in range(at_once)]
            )
        return (clock() - begun_at) / times

    with asyncio.Runner() as runner:
        yield lambda at_once, times: runner.run(send(at_once, times))
