"""Decide how long a caller waits for a place in a full queue, and who may not wait at all.

Knows pools by their lines only. An event loop is never kept waiting, nor is the thread that reads
the workers' replies: no place would ever become free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from flask_concurrency.runtime.deadline import Deadline
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import DeadlineExceeded, QueueFull

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask_concurrency.executors.processes.pool import Pool

T = TypeVar("T")
_LONGEST = 86400.0


def submit_patiently(pool: Pool, submit: Callable[[], T], deadline: Deadline | None) -> T:
    """Submit as soon as there is room.

    :param submit: Raises ``QueueFull`` while there is none.
    :raises QueueFull: This thread must not wait.
    :raises DeadlineExceeded: There was no room in time.
    """
    if _is_on_loop() or pool.is_collecting():
        pool.count_refused()
        return submit()
    again = False
    while True:
        place = pool.line_up(again)
        if place is not None:
            with _standing(pool, place):
                place.result(_time_left(pool, deadline))
        try:
            return submit()
        except QueueFull:  # somebody else was faster
            again = True


async def submit_when_possible(pool: Pool, submit: Callable[[], T], deadline: Deadline | None) -> T:
    """Await room without keeping the event loop, and submit.

    :raises DeadlineExceeded: There was no room in time.
    """
    again = False
    while True:
        place = pool.line_up(again)
        if place is not None:
            with _standing(pool, place):
                left = _time_left(pool, deadline)
                await asyncio.wait_for(asyncio.wrap_future(place), left)
        try:
            return submit()
        except QueueFull:  # somebody else was faster
            again = True


@contextmanager
def _standing(pool: Pool, place: Future[None]) -> Iterator[None]:
    """Leave the line whatever happens, and pass the place on if it was given meanwhile."""
    try:
        yield
    except BaseException as error:
        if not place.cancel():
            pool.pass_on()
        if isinstance(error, TimeoutError) and not isinstance(error, DeadlineExceeded):
            raise _too_late(pool) from None
        raise


def _time_left(pool: Pool, deadline: Deadline | None) -> float:
    left = _LONGEST if deadline is None else min(deadline.at - monotonic(), _LONGEST)
    if left <= 0:
        raise _too_late(pool)
    return left


def _too_late(pool: Pool) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"The queue of {pool.options.name!r} had no place before the deadline: all of its "
        f"{pool.options.max_queue} stayed taken. Submit fewer at once, or raise 'max_queue'."
    )


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
