"""Decide when a sender yields to the loop. Knows neither messages nor a server."""

from __future__ import annotations

import asyncio

SENDS_AT_ONCE = 32
"""Messages after which the loop goes on, whether or not the server made the sender wait. Some take
all at once when the client reads no more (granian 2.8, hypercorn 0.18): a sender that does nothing
else would keep the loop for ever, and never notice that the client has left."""


class CooperativeYield:
    """The turns of one sender."""

    __slots__ = ("_sent",)

    def __init__(self) -> None:
        self._sent = 0

    async def after_send(self) -> None:
        """Let others have their turn, after every so many messages; awaited after each."""
        self._sent += 1
        if self._sent % SENDS_AT_ONCE == 0:
            await asyncio.sleep(0)
