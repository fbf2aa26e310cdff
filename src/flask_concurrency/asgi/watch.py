"""Notice that a client has left while its request is being worked on. Knows no application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from flask_concurrency.asgi.inbox import Inbox

logger = logging.getLogger("flask_concurrency.asgi")

LOOK_AFTER = 0.2
"""Seconds after which a request is watched. Most are answered before, and need no watch, which
takes nearly as long as a small request itself."""


class Watch:
    """Awaits the disconnect of one client, from a while after it was made until :meth:`stop`.

    :param inbox: The client's messages.
    :param act: Called once, if the client has left.
    :ivar acted: Whether it was.
    """

    __slots__ = ("_act", "_inbox", "_task", "_timer", "acted")

    def __init__(self, inbox: Inbox, act: Callable[[], object]) -> None:
        self._inbox = inbox
        self._act = act
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(LOOK_AFTER, self._begin)
        self.acted = False

    def stop(self) -> None:
        """Watch no longer; nothing is called from now on."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        try:
            gone = await self._inbox.until_gone()
        except Exception:
            logger.exception("The server cannot tell any more whether a client is there")
            return
        if gone:
            self.acted = True
            self._act()
