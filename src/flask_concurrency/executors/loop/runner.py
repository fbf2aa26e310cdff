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
from flask_concurrency.executors.loop.call import logger
from flask_concurrency.executors.loop.lifetime import CLOSES_WITHIN, OPENS_WITHIN, Lifetime
from flask_concurrency.executors.loop.owner import LoopOwner

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class LoopRunner(LoopOwner):
    """One running loop. Used once: it starts when it is made, and ends at :meth:`stop`.

    :ivar closing: New calls are refused from now on: it was stopped, or it broke.
    :ivar drained: No new task is made from now on; those left are cancelled.
    """

    def __init__(
        self,
        name: str,
        loop_factory: LoopFactory,
        default_executor: concurrent.futures.Executor | None,
        lifetime: Lifetime,
    ) -> None:
        # An empty context, here and for the thread: the loop would otherwise keep the first
        # request, uploads and app included, for as long as it lives.
        super().__init__(Context().run(loop_factory))
        self.loop.set_exception_handler(_log)
        if default_executor is not None:
            self.loop.set_default_executor(BorrowedExecutor(default_executor))
        self.closing = False
        self._lifetime = lifetime
        self._opened = threading.Event()
        self._finished = False
        self.thread = threading.Thread(
            target=Context().run, args=(self._serve,), name=name, daemon=True
        )
        try:
            self.thread.start()
        except BaseException:  # the system's limit of threads
            self.loop.close()
            raise
        if lifetime.opens:  # what a coroutine uses is open before the first one runs
            self._opened.wait(OPENS_WITHIN)

    def is_current_thread(self) -> bool:
        """Return whether the caller is on the loop's thread."""
        return threading.get_ident() == self.thread.ident

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self.thread.is_alive()

    def stop(self, drain: float = 0.0) -> None:
        """Refuse new calls, and end the loop; returns at once, on any thread.

        :param drain: Seconds in which running tasks may finish before they are cancelled.
        """
        self.closing = True
        with contextlib.suppress(RuntimeError):  # it is closed already
            self.loop.call_soon_threadsafe(self._begin_to_stop, drain)

    def join(self, timeout: float) -> bool:
        """Wait for the thread's end, and return whether it has come."""
        self.thread.join(timeout)
        return not self.thread.is_alive()

    def _begin_to_stop(self, drain: float) -> None:
        self._draining = self.loop.create_task(self._drain(drain))

    def finish(self, drain: float) -> None:
        """Let running tasks finish and close what lives on the loop, which itself goes on.

        :param drain: Seconds in which running tasks may finish.
        """
        with contextlib.suppress(RuntimeError, TimeoutError):  # it is closed, or one has no end
            ended = asyncio.run_coroutine_threadsafe(self._finish(drain), self.loop)
            ended.result(drain + CLOSES_WITHIN + 1.0)

    async def _finish(self, seconds: float) -> None:
        # Not for tasks that were not begun here, such as the one in which a client library listens.
        ours = [call.task for call in tuple(self.calls) if call.task is not None]
        if ours and seconds > 0.0:
            await asyncio.wait(ours, timeout=seconds)
        if not self._finished:
            self._finished = True
            await self._lifetime.end()

    async def _drain(self, seconds: float) -> None:
        await self._finish(seconds)
        self.drained = True
        self.loop.stop()

    def _serve(self) -> None:
        try:
            # At its end the runner cancels and awaits every task, closes asynchronous
            # generators, and closes the loop.
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                runner.get_loop()
                try:
                    self.loop.run_until_complete(self._lifetime.begin())
                    self._opened.set()
                    self._run_until_drained()
                except BaseException:
                    logger.exception("The event loop broke; the next call starts another")
                finally:
                    self.closing = self.drained = True
                    self._opened.set()
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
    """Log what asyncio can report to no caller, such as the exception of an orphaned task."""
    details = ", ".join(
        f"{key}={value!r}"
        for key, value in sorted(context.items())
        if key not in ("message", "exception")
    )
    logger.error("%s (%s)", context["message"], details, exc_info=context.get("exception"))
