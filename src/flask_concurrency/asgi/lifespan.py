"""Follow a server from its start to its end. Knows no request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from flask_concurrency.asgi.interface import Receive, Send
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.runtime.drain import Drain, watch_signals
from flask_concurrency.vocabulary.clock import monotonic


class Finish(NamedTuple):
    """How to finish what was begun.

    :ivar timeout: Seconds for all of it.
    :ivar executors: Waits for what the executors have taken, so many seconds at most.
    """

    timeout: float
    executors: Callable[[float], object]


async def serve_lifespan(
    receive: Receive, send: Send, *, loop: LoopThread, drain: Drain, finish: Finish
) -> None:
    """Answer a server that tells when it starts and ends; one that does not is served as well.

    At the start nothing is made: executors start with their first task. At the end background
    tasks on the loop finish or are cancelled, because the server's loop ends with it; then what
    the executors have taken is finished, because some servers end by a signal, which waits for
    nothing.

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
            began_at = monotonic()
            await loop.drain(min(loop.drain_timeout, finish.timeout))
            left = max(0.0, finish.timeout - (monotonic() - began_at))
            await _in_a_thread(partial(finish.executors, left))
            await loop.end(finish.timeout)
            await send({"type": "lifespan.shutdown.complete"})
            return
        else:
            raise RuntimeError(f"The server sent {message['type']!r} in its lifespan.")


async def _in_a_thread(call: Callable[[], object]) -> None:
    """Wait for a call that blocks, on a thread that belongs to nobody else."""
    with ThreadPoolExecutor(1, "drain") as thread:
        await asyncio.wrap_future(thread.submit(call))
