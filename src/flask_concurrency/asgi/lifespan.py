"""Follow a server from its start to its end. Knows no request."""

from __future__ import annotations

from flask_concurrency.asgi.interface import Receive, Send
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.lifecycle.drain import Drain, watch_signals


async def serve_lifespan(receive: Receive, send: Send, *, loop: LoopThread, drain: Drain) -> None:
    """Answer a server that tells when it starts and ends; one that does not is served as well.

    At the start nothing is made: executors start with their first task. At the end background
    tasks on the loop finish or are cancelled, because the server's loop ends with it.

    Servers tell of their end only when all connections are closed. Those that would stay open for
    ever hear of it before, by the signal.
    """
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            watch_signals()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            drain.begin()
            await loop.drain(5.0)
            await send({"type": "lifespan.shutdown.complete"})
            return
        else:
            raise RuntimeError(f"The server sent {message['type']!r} in its lifespan.")
