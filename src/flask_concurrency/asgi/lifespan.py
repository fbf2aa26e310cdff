"""Follow a server from its start to its end, by its lifespan or by a signal.

Knows no request, only how many there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from flask_concurrency.asgi.interface import Receive, Send
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.runtime.drain import (
    SIGNALS,
    Drain,
    Insistence,
    begin_drains,
    delay_end,
    watch_signals,
)
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.asgi")


class Finish(NamedTuple):
    """How to finish what was begun.

    :ivar timeout: Seconds for all of it.
    :ivar executors: Waits for what the executors have taken, so many seconds at most.
    """

    timeout: float
    executors: Callable[[float], object]


class ServerLife:
    """The start and the end of a server, for one application.

    Executors start with their first task. At the end background tasks on the loop finish or are
    cancelled, because the server's loop ends with it; then what the executors have taken is
    finished, because some servers end by a signal, which waits for nothing; then clients are
    closed.

    Servers announce their end only when all connections are closed. Those that would stay open for
    ever, such as event streams, end before, by the signal. Where no lifespan comes, the signal is
    all there is: what it did before is done only once requests and accepted work have ended.

    :param serves: Whether the application is served, and not under test.
    :ivar ending: Requests are to be refused: the process ends when those in flight have ended.
    """

    def __init__(
        self, *, loop: LoopThread, drain: Drain, finish: Finish, serves: Callable[[], bool]
    ) -> None:
        self._loop = loop
        self._drain = drain
        self._finish = finish
        self._serves = serves
        self._known = False
        self._requests = 0
        self._idle: asyncio.Future[None] | None = None
        self._ended_by: asyncio.Task[None] | None = None
        self._signals = Insistence()
        self.ending = False

    async def serve(self, receive: Receive, send: Send) -> None:
        """Answer a server's lifespan.

        :raises RuntimeError: The server sent something else.
        """
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.begin()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.end()
                await send({"type": "lifespan.shutdown.complete"})
                return
            else:
                raise RuntimeError(f"The server sent {message['type']!r} in its lifespan.")

    @asynccontextmanager
    async def within(self) -> AsyncIterator[None]:
        """Begin and end with a block, in the lifespan of another application."""
        self.begin()
        try:
            yield
        finally:
            await self.end()

    def begin(self) -> None:
        """Note that the server starts, and will announce its end."""
        self._known = True
        watch_signals()

    async def end(self) -> None:
        """Finish what was begun."""
        self._drain.begin()
        began_at = monotonic()
        await self._loop.drain(min(self._loop.drain_timeout, self._finish.timeout))
        left = max(0.0, self._finish.timeout - (monotonic() - began_at))
        await _in_a_thread(partial(self._finish.executors, left))
        await self._loop.end(self._finish.timeout)

    def request_begins(self) -> None:
        """Count a request; at the first one without a lifespan, watch signals instead."""
        self._requests += 1
        if not self._known:
            self._known = True
            if self._serves():
                self._begin_without_lifespan()

    def request_ends(self) -> None:
        """It has ended."""
        self._requests -= 1
        if not self._requests and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _begin_without_lifespan(self) -> None:
        loop = asyncio.get_running_loop()

        def end_then(go_on: Callable[[], None]) -> None:
            if not loop.is_running():
                go_on()  # the server's loop has ended before
                return
            loop.call_soon_threadsafe(lambda: loop.create_task(self._end_by_signal(go_on)))

        if self._takes_over_from(loop):
            instead = "SIGTERM and SIGINT are watched in its place."
        elif watch_signals():
            delay_end(self, end_then)
            instead = "SIGTERM and SIGINT are watched in its place."
        else:
            instead = "Signals cannot be watched on this thread, so accepted work may be lost."
        logger.warning(
            "The server told nothing of its start, so it will not tell of its end. %s Let it send "
            "'lifespan', or if the application is mounted in another one, write 'async with "
            "asgi.lifespan():' in that one's lifespan.",
            instead,
        )

    def _takes_over_from(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Stand between the loop and the signal handlers that a server gave it, if it gave any."""
        # Kept by asyncio's loops; there is no public way to ask, and those of granian (2.8) and
        # gunicorn (27) stop the loop, whatever still runs on it.
        handles: dict[int, Any] = getattr(loop, "_signal_handlers", None) or {}
        taken = [number for number in SIGNALS if number in handles]
        for number in taken:
            handle = handles[number]
            before = partial(handle._callback, *handle._args)  # the handle itself is cancelled
            loop.add_signal_handler(number, self._signalled, before)
        return bool(taken)

    def _signalled(self, before: Callable[[], None]) -> None:
        begin_drains()
        if not self._signals.is_first():
            if self._signals.insists():
                before()
        else:
            self._ended_by = asyncio.get_running_loop().create_task(self._end_by_signal(before))

    async def _end_by_signal(self, go_on: Callable[[], None]) -> None:
        self.ending = True
        try:
            if self._requests:
                self._idle = asyncio.get_running_loop().create_future()
                await asyncio.wait({self._idle}, timeout=self._finish.timeout)
            await self.end()
        finally:
            go_on()


async def _in_a_thread(call: Callable[[], object]) -> None:
    """Wait for a call that blocks, on a thread of its own."""
    with ThreadPoolExecutor(1, "drain") as thread:
        await asyncio.wrap_future(thread.submit(call))
