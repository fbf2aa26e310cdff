"""End a coroutine at its caller's deadline. Knows neither who awaits it nor on whose loop.

A coroutine ends where it awaits, by a cancellation. One that swallows it is cancelled again, after
the time that it gets to clean up; one that then returns all the same has returned too late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from flask_concurrency.runtime.deadline import remaining
from flask_concurrency.runtime.deadline_messages import coroutine_cancelled

T = TypeVar("T")

CLEAN_UP = 1.0
"""Seconds that the ``finally`` blocks of a coroutine get once it is cancelled."""


def time_left() -> float | None:
    """Seconds after which a coroutine called now is to be cancelled; ``None`` for never.

    What is called only after the deadline deals with it, as error handlers and teardowns do, and
    is not cancelled for it.
    """
    return remaining() or None


async def in_time(coroutine: Coroutine[Any, Any, T], seconds: float, name: str) -> T:
    """Await a coroutine in the task of the caller, for so many seconds at most.

    :raises DeadlineExceeded: It did not end in time, whatever it ended with then.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    cancelled = 0
    alarm: asyncio.TimerHandle

    def expire() -> None:
        nonlocal cancelled, alarm
        cancelled += 1
        task.cancel()
        alarm = loop.call_later(CLEAN_UP, expire)

    alarm = loop.call_later(seconds, expire)
    try:
        result = await coroutine
    except asyncio.CancelledError as error:
        if not cancelled or task.cancelling() > cancelled:
            raise  # something else cancelled it as well, and has to see that it ended
        raise coroutine_cancelled(name) from error
    except Exception as error:
        if cancelled:
            raise coroutine_cancelled(name) from error
        raise
    else:
        if cancelled:
            raise coroutine_cancelled(name)
        return result
    finally:
        alarm.cancel()
        for _ in range(cancelled):
            task.uncancel()
