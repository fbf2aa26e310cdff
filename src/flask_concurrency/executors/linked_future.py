"""Make one future follow another, which may be given up before that one is done.

Knows no executor: the one that runs the call settles the future that is followed.
"""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

from flask_concurrency.executors.signal_safe_future import SignalSafeFuture

T = TypeVar("T")


class LinkedFuture(SignalSafeFuture[T]):
    """A future that ends as another one does, unless it ends before.

    ``cancel()`` is passed on, and what comes of it is up to the other future's executor.
    """

    _followed: Future[T] | None = None

    def follow(self, future: Future[T]) -> None:
        """Name the future whose call this one is for. The follower calls :meth:`adopt`."""
        self._followed = future

    def adopt(self, future: Future[T]) -> None:
        """End as ``future`` did; nothing happens if this one has ended."""
        self._followed = None  # it leads to the call's arguments, and to the request
        if future.cancelled():
            self.end_cancelled()
            return
        error = future.exception()
        with suppress(InvalidStateError):
            if error is None:
                self.set_result(future.result())
            else:
                self.set_exception(error)

    def give_up(self, error: BaseException) -> None:
        """End with ``error`` at once, and cancel the call if that is possible."""
        with suppress(InvalidStateError):
            self.set_exception(error)
        self.cancel_call()

    def end_cancelled(self) -> None:
        """End cancelled; nothing happens if this one has ended."""
        if not self.done() and super().cancel():
            self.set_running_or_notify_cancel()  # wakes ``concurrent.futures.wait``

    def cancel(self) -> bool:
        """Cancel the call if that is possible.

        :returns: Whether it is cancelled, or was asked to end. A call that runs on a thread cannot
            be stopped.
        """
        return self.cancelled() if self.done() else self.cancel_call()

    def cancel_call(self) -> bool:
        """Cancel the call, whether or not this future has ended."""
        followed = self._followed
        return followed is not None and followed.cancel()

    def running(self) -> bool:
        """Whether the call runs."""
        followed = self._followed
        return followed is not None and not self.done() and followed.running()


def error_of(future: Future[Any]) -> BaseException | None:
    """What a future that is done ended with; ``None`` for a result or a cancellation."""
    return None if future.cancelled() else future.exception()
