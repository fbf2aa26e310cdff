"""A future that no exception of a signal handler leaves locked. Knows no executor."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TypeVar

from flask_concurrency.runtime.signal_safe_condition import signal_safe_condition

T = TypeVar("T")


class SignalSafeFuture(Future[T]):
    """A ``Future`` in everything.

    The lock of one whose asker is interrupted, by Ctrl-C or a time limit, would else stay held, and
    the thread that completes it would wait for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self._condition = signal_safe_condition()
