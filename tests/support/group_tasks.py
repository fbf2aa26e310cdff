"""Tasks that tests give to groups: they end at once, fail, or run until they are cancelled."""

from __future__ import annotations

import threading
import time

from flask_concurrency.runtime.deadline import remaining

SOON = 30.0


def fail() -> None:
    raise ValueError("no")


def until_unwanted(began: threading.Event | None = None) -> str:
    """Run until no result is wanted any more, as a task that asks for the time does."""
    if began is not None:
        began.set()
    give_up_at = time.monotonic() + SOON
    while remaining() != 0.0:
        assert time.monotonic() < give_up_at
        time.sleep(0.001)
    return "ran to its end"


def double(number: int) -> int:
    return 2 * number


async def twice(number: int) -> int:
    return 2 * number
