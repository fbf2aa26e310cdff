"""Decide when a test goes on that waits for its event loop, or for threads beside it.

Counts no turns of the loop: how many the code under test takes is not a part of its contract.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

GIVE_UP: Final = 30.0
"""Seconds; a wait that takes so long never ends."""

TURNS: Final = 100
"""Turns of the loop after which a wait is for another thread, which is then left the processor."""


async def until_idle() -> None:
    """Wait until nothing more runs on this loop unless time passes or another thread acts.

    :raises AssertionError: It never rests.
    """
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    give_up_at = time.monotonic() + GIVE_UP
    # What is ready in a turn of the loop runs before what it makes ready itself: where nothing is
    # left behind this task, nothing was.
    await asyncio.sleep(0)
    while ready:
        assert time.monotonic() < give_up_at, f"The loop was busy for {GIVE_UP} s."
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another task or thread brings about, and let the loop run meanwhile.

    :raises AssertionError: It did not come true.
    """
    give_up_at = time.monotonic() + GIVE_UP
    turns = 0
    while not condition():
        assert time.monotonic() < give_up_at, f"It did not come true within {GIVE_UP} s."
        turns += 1
        await asyncio.sleep(0 if turns < TURNS else 0.001)


class Meeting:
    """Where a coroutine waits for the test, and the test for it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def wait(self) -> None:
        """Be there, and wait."""
        self.reached.set()
        await self.go_on.wait()
