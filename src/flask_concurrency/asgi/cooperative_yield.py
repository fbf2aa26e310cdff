"""Decide when whoever sends lets the loop go on. Knows neither messages nor a server."""

from __future__ import annotations

import asyncio

SENDS_AT_ONCE = 32
"""Messages after which the loop goes on, whether or not the server made the sender wait. Some take
all at once when nobody reads any more (granian 2.8, hypercorn 0.18): one who only sends would keep
the loop for ever, and never hear that the client has left."""


class CooperativeYield:
    """Of one who sends message after message."""

    __slots__ = ("_sent",)

    def __init__(self) -> None:
        self._sent = 0

    async def after_send(self) -> None:
        """Let others have their turn, after every so many messages; awaited after each."""
        self._sent += 1
        if self._sent % SENDS_AT_ONCE == 0:
            await asyncio.sleep(0)
