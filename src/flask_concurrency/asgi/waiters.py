"""Let coroutines of one loop wait for news, and wake them. Does not know what the news is.

An ``asyncio.Event`` would do. It takes 850 bytes, used or not, and thousands of idle connections
have two each; this takes 90, and 100 more where a coroutine waits
(``./scripts/bench idle-websockets``).
"""

from __future__ import annotations

import asyncio


class Waiters:
    """The coroutines that wait for one kind of news."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait until :meth:`wake` is called; what there is then, the caller has to see."""
        woken = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        try:
            await woken
        finally:
            self._waiting.remove(woken)

    def wake(self) -> None:
        """Let all of them go on."""
        for woken in self._waiting:
            if not woken.done():
                woken.set_result(None)
