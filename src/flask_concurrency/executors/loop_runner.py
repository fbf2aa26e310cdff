"""Decide how one event loop lives on one thread, from its start to its close.

Knows neither what runs on it nor that a process may fork.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

from flask_concurrency.executors.borrowed_executor import BorrowedExecutor
from flask_concurrency.executors.loop_call import Call, logger

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class LoopRunner:
    """One running loop. Used once: it starts when it is made, and ends at :meth:`stop`.

    :ivar calls: What was handed over and has not ended; holding them keeps their tasks alive.
    :ivar closing: New calls are refused from now on: it was stopped, or it broke.
    :ivar drained: No new task is made from now on; those left are cancelled.
    """

    def __init__(
        self,
        name: str,
        loop_factory: LoopFactory,
        default_executor: concurrent.futures.Executor | None,
    ) -> None:
        self.loop = loop_factory()
        self.loop.set_exception_handler(_log)
        if default_executor is not None:
            self.loop.set_default_executor(BorrowedExecutor(default_executor))
        self.calls: set[Call[Any]] = set()
        self.closing = False
        self.completed = self.failed = self.cancelled = 0
        self.drained = False
        # An empty context: where threads inherit their starter's, the loop would otherwise keep
        # the first request, uploads included, for as long as it lives.
        self.thread = threading.Thread(
            target=Context().run, args=(self._serve,), name=name, daemon=True
        )
        self.thread.start()

    def is_current_thread(self) -> bool:
        """Tell whether the caller is on the loop's thread."""
        return threading.get_ident() == self.thread.ident

    def submit(self, call: Call[Any]) -> None:
        """Hand a call to the loop, or refuse it if the loop is closed."""
        # Entered before it is sent: whatever the close overtakes is found in ``calls``.
        self.calls.add(call)
        try:
            self.loop.call_soon_threadsafe(call.start, context=call.context)
        except RuntimeError:
            call.refuse()

    def claim(self, call: Call[Any]) -> bool:
        """Take a call that ends out of the books; ``False`` if somebody else has."""
        try:
            self.calls.remove(call)
        except KeyError:
            return False
        return True

    def count(self, error: BaseException | None) -> None:
        """Count how a call's task ended. Runs on the loop's thread, the only writer."""
        if error is None:
            self.completed += 1
        elif isinstance(error, asyncio.CancelledError):
            self.cancelled += 1
        else:
            self.failed += 1

    def stop(self, drain: float = 0.0) -> None:
        """Refuse new calls, and end the loop; returns at once, on any thread.

        :param drain: Seconds in which running tasks may finish before they are cancelled.
        """
        self.closing = True
        with contextlib.suppress(RuntimeError):  # it is closed already
            self.loop.call_soon_threadsafe(self._begin_to_stop, drain)

    def give_up(self) -> list[str]:
        """Refuse what has not ended, so that no caller waits for it; name what still runs."""
        still_running = [repr(task) for task in asyncio.all_tasks(self.loop)]
        for call in tuple(self.calls):
            call.refuse()
        return still_running

    def _begin_to_stop(self, drain: float) -> None:
        self._draining = self.loop.create_task(self._drain(drain))

    async def _drain(self, seconds: float) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others and seconds > 0.0:
            await asyncio.wait(others, timeout=seconds)
        self.drained = True
        self.loop.stop()

    def _serve(self) -> None:
        try:
            # At its end the runner cancels and awaits every task, closes asynchronous
            # generators, and closes the loop.
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                runner.get_loop()
                try:
                    self._run_until_drained()
                except BaseException:
                    logger.exception("The event loop broke; the next call starts another")
                finally:
                    self.closing = self.drained = True
        except BaseException:
            logger.exception("The event loop did not close cleanly")
        finally:
            self.give_up()

    def _run_until_drained(self) -> None:
        while not self.drained:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                # asyncio lets these two end the loop; here it belongs to every request.
                logger.warning("The event loop runs on after %r in a task", error)


def _log(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio found nobody to tell, such as the exception of an orphaned task."""
    details = ", ".join(
        f"{key}={value!r}"
        for key, value in sorted(context.items())
        if key not in ("message", "exception")
    )
    logger.error("%s (%s)", context["message"], details, exc_info=context.get("exception"))
