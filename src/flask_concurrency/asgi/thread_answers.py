"""Bring what threads have answered to one loop, which is woken once for many answers.

Knows neither what an answer is nor what becomes of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.asgi")


class Asker(Protocol):
    """What waits on the loop for an answer."""

    def take_answer(self, answer: Any, error: BaseException | None) -> None:
        """Take it in, on the loop."""

    def lose_answer(self, answer: Any) -> None:
        """The loop is closed, and no one waits; in any thread."""


class ThreadAnswers:
    """The answers on their way to one loop.

    Under load several are ready before the loop has looked. To wake it for each takes a system call
    of the thread and two of the loop, and the interpreter changes hands (``./scripts/bench
    asgi-uvicorn``).

    :param loop: Where those are that asked.
    """

    __slots__ = ("_due", "_woken", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._due: deque[tuple[Asker, Any, BaseException | None]] = deque()
        self._woken = False

    def tell(self, asker: Asker, answer: Any, error: BaseException | None) -> None:
        """Have an answer taken in on the loop. In any thread."""
        self._due.append((asker, answer, error))
        # If it was woken, it has yet to look, and will find this one; unless it was closed since.
        if not self._woken or self.loop.is_closed():
            self._wake()

    def _wake(self) -> None:
        self._woken = True
        try:
            self.loop.call_soon_threadsafe(self._take_in)
        except RuntimeError:  # it is closed
            self._woken = False
            while self._due:
                asker, answer, _ = self._due.popleft()
                try:
                    asker.lose_answer(answer)
                except Exception:  # of the application, whose body it closes
                    logger.exception("An answer whose request has ended could not be closed")

    def _take_in(self) -> None:
        self._woken = False  # before it looks: what comes from here on wakes it again
        due = self._due
        try:
            while due:
                asker, answer, error = due.popleft()
                asker.take_answer(answer, error)
                del asker, answer, error
        finally:
            if due and not self._woken:
                self._wake()
