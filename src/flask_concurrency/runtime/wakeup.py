"""Let one piece of code wait until another, in any thread, wakes it. Knows no request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from flask_concurrency.runtime.greenlet_bridge import can_suspend, suspend


class WakeUp:
    """What one waits for and others, in any thread, bring about; used again and again.

    Waits as its waiter can: suspended where that is possible, else blocking its thread.
    """

    __slots__ = ("_event", "_notify")

    def __init__(self) -> None:
        self._event = threading.Event()
        self._notify: Callable[[], object] | None = None

    def wait(self, seconds: float) -> None:
        """Wait to be woken, ``seconds`` at most."""
        if can_suspend():
            suspend(self._asleep(seconds))
        else:
            self._event.wait(seconds)
        # A wake-up after this line is for its next wait.
        self._event.clear()

    def set(self) -> None:
        """Wake the waiter, or else let the next wait end at once."""
        self._event.set()
        notify = self._notify
        if notify is not None:
            notify()

    async def _asleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        awake = asyncio.Event()

        def notify() -> None:
            # Its own thread may be the one that wakes it, and the loop may have ended without it.
            if not loop.is_closed():
                loop.call_soon_threadsafe(awake.set)

        self._notify = notify
        try:
            if not self._event.is_set():  # set before there was anybody to notify
                async with asyncio.timeout(seconds):
                    await awake.wait()
        except TimeoutError:
            pass
        finally:
            self._notify = None
