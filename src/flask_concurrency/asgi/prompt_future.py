"""Let the task that awaits go on at once, when what it waits for is there. Knows no answer.

A future of asyncio has it go on in the loop's next turn, after one more look at all sockets. Where
the loop was woken for that task, nothing else is due: a request to a plain view takes a twelfth
less of the processor so (``./scripts/bench asgi-sync``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class PromptFuture(Generic[T]):
    """What one task awaits, and nothing else does.

    Tasks await whatever has asyncio's protocol of futures (:func:`asyncio.isfuture`).

    :param loop: The task's.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_context",
        "_done",
        "_error",
        "_go_on",
        "_loop",
        "_result",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._go_on: Callable[[PromptFuture[T]], object] | None = None
        self._context: Context | None = None
        self._done = False
        self._result: T | None = None
        self._error: BaseException | None = None

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the task."""
        return self._loop

    def add_done_callback(
        self, go_on: Callable[[PromptFuture[T]], object], *, context: Context
    ) -> None:
        """What the task does once, when it begins to wait."""
        self._go_on, self._context = go_on, context

    def done(self) -> bool:
        """Whether it has ended."""
        return self._done

    def result(self) -> T:
        """What it was given; ``None`` where there is none, or an error was raised before.

        :raises BaseException: It was given an error, or cancelled.
        """
        error, self._error = self._error, None
        if error is None:
            return cast("T", self._result)
        try:
            raise error
        finally:
            del error  # kept, it would close a cycle with this frame

    def set_result(self, result: T) -> None:
        """Let the task go on, in a callback of the loop and in no task."""
        self._result = result
        self._end()

    def set_exception(self, error: BaseException) -> None:
        """Let it go on with an error."""
        self._error = error
        self._end()

    def cancel(self, msg: Any = None) -> bool:
        """Let it go on with its cancellation, in the loop's next turn: it may be in a step now."""
        if self._done:
            return False
        self._error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self._done = True
        if self._go_on is not None:
            self._loop.call_soon(self._go_on, self, context=self._context)
        return True

    def _end(self) -> None:
        self._done = True
        if self._go_on is not None and self._context is not None:
            self._context.run(self._go_on, self)

    def __await__(self) -> Generator[Any, Any, T]:
        if not self._done:
            self._asyncio_future_blocking = True
            yield self
        return self.result()
