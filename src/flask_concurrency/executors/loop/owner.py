"""Keep and count the calls on one event loop. Does not know who runs the loop."""

from __future__ import annotations

import asyncio
from typing import Any

from flask_concurrency.executors.loop.call import Call
from flask_concurrency.executors.task_end import OnTaskEnd, TaskEnd
from flask_concurrency.executors.waiting import register_serving_loop
from flask_concurrency.vocabulary.clock import monotonic


class LoopOwner:
    """An event loop that runs calls.

    :ivar calls: What was handed over and has not ended; holding them keeps their tasks alive.
    :ivar lag: Seconds that the loop took to answer when it was last asked for a sign of life.
    :ivar on_task_end: Told how each call ended.
    :ivar drained: No new task is made from now on.
    """

    on_task_end: OnTaskEnd | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.calls: set[Call[Any]] = set()
        self.drained = False
        self.lag = 0.0
        self._asked_at: float | None = None
        self.done = self.failed = self.cancelled = 0
        register_serving_loop(self)

    def is_current_thread(self) -> bool:
        """Return whether the caller is on the loop's thread."""
        raise NotImplementedError

    def submit(self, call: Call[Any]) -> None:
        """Hand a call to the loop, or refuse it if the loop is closed."""
        # Entered before it is sent: whatever the close overtakes is found in ``calls``.
        self.calls.add(call)
        try:
            self.loop.call_soon_threadsafe(call.start, context=call.context)
        except RuntimeError:
            call.refuse()

    def claim(self, call: Call[Any]) -> bool:
        """Remove a call that ends; ``False`` if it was removed before."""
        try:
            self.calls.remove(call)
        except KeyError:
            return False
        return True

    def count(self, name: str, error: BaseException | None) -> None:
        """Count how a call's task ended. Runs on the loop's thread, the only writer."""
        if error is None:
            self.done += 1
            result = "done"
        elif isinstance(error, asyncio.CancelledError):
            self.cancelled += 1
            result = "cancelled"
        else:
            self.failed += 1
            result = "failed"
        if self.on_task_end is not None:
            self.on_task_end(TaskEnd(result, name, error=error))

    def ask_for_sign(self) -> None:
        """Ask the loop for a sign of life, which sets :attr:`lag`."""
        now = monotonic()
        if self._asked_at is not None:  # it has not answered since
            self.lag = now - self._asked_at
            return
        self._asked_at = now
        try:
            self.loop.call_soon_threadsafe(self._answer)
        except RuntimeError:  # it is closed
            self._asked_at = None

    def _answer(self) -> None:
        if self._asked_at is not None:
            self.lag = monotonic() - self._asked_at
            self._asked_at = None

    def give_up(self) -> list[str]:
        """Refuse what has not ended, so that no caller waits for it; name what still runs."""
        still_running = [repr(task) for task in asyncio.all_tasks(self.loop)]
        for call in tuple(self.calls):
            call.refuse()
        return still_running
