"""Decide how calls run on an event loop that is not ours, such as an ASGI server's.

Knows neither the server nor what it does there beside.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

from flask_concurrency.executors.borrowed_executor import BorrowedExecutor
from flask_concurrency.executors.loop.owner import LoopOwner


class BorrowedLoop(LoopOwner):
    """A running loop that is not ours. It is neither stopped nor closed here.

    To be made on the loop.

    :param default_executor: Where ``asyncio.to_thread`` runs from now on, so that there is one
        pool and one bound; ``None`` leaves that as it is.
    """

    def __init__(self, default_executor: concurrent.futures.Executor | None) -> None:
        super().__init__(asyncio.get_running_loop())
        self._thread = threading.get_ident()
        self._stopped = False
        if default_executor is not None:
            self.loop.set_default_executor(BorrowedExecutor(default_executor))

    @property
    def closing(self) -> bool:
        """New calls are refused from now on: it was given back, or its owner has ended it."""
        return self._stopped or not self.loop.is_running()

    @property
    def alive(self) -> bool:
        """Whether it runs calls."""
        return not self.closing

    def is_current_thread(self) -> bool:
        """Return whether the caller is on the loop's thread, while the loop runs."""
        return threading.get_ident() == self._thread and self.loop.is_running()

    def stop(self, drain: float = 0.0) -> None:
        """Refuse new calls; those that run are their owner's to await, with :meth:`drain`."""
        self._stopped = True

    def join(self, timeout: float) -> bool:
        """Wait for nothing: what has not ended here ends with its owner."""
        if not self.loop.is_running():
            self.give_up()
        return not self.calls

    async def drain(self, seconds: float) -> list[str]:
        """Let what runs finish, then cancel it; on the loop itself.

        :returns: The names of what had to be cancelled.
        """
        tasks = {call.task for call in tuple(self.calls) if call.task is not None}
        if not tasks:
            return []
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)
        return [task.get_name() for task in late]
