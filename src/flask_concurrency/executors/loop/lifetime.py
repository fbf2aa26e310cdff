"""Decide what is opened when a loop starts and closed before it ends. Knows no particular loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.loop")

OPENS_WITHIN: Final = 30.0
"""Seconds that all functions together get at the start of a loop."""

CLOSES_WITHIN: Final = 5.0
"""Seconds that all functions together get at its end."""

Function = TypeVar("Function", bound=Callable[[], Awaitable[Any]])


class Lifetime:
    """Functions that open and close what lives as long as a loop, such as clients and pools.

    :ivar opens: Called at the start of each loop, in the order in which they were given.
    :ivar closes: Called before its end, the last one first.
    """

    def __init__(self) -> None:
        self.opens: list[Callable[[], Awaitable[Any]]] = []
        self.closes: list[Callable[[], Awaitable[Any]]] = []

    async def begin(self) -> None:
        """Open everything, on the loop itself. What fails is logged, and the loop goes on."""
        await _call_all(tuple(self.opens), OPENS_WITHIN, "start")

    async def end(self, seconds: float = CLOSES_WITHIN) -> None:
        """Close everything, on the loop itself; what fails or is late keeps nothing else open."""
        await _call_all(tuple(reversed(self.closes)), min(seconds, CLOSES_WITHIN), "end")


def check_function(function: Any, method: str) -> None:
    """Refuse what cannot be awaited where it is given.

    :raises TypeError: It is no async function.
    """
    if not inspect.iscoroutinefunction(function):
        raise TypeError(
            f"{method}({function!r}): give an async function without parameters, as in "
            f"'@concurrency.loop.{method}' above 'async def open_pool(): ...'."
        )


async def _call_all(
    functions: tuple[Callable[[], Awaitable[Any]], ...], seconds: float, when: str
) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    for function in functions:
        name = getattr(function, "__qualname__", repr(function))
        try:
            async with asyncio.timeout_at(until):
                await function()
        except TimeoutError:
            logger.error("%r did not end within %g s at the loop's %s", name, seconds, when)
        except Exception:
            logger.exception("%r failed at the loop's %s", name, when)
