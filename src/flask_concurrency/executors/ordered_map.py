"""Decide when the calls of a ``map`` are submitted and its results handed out. Knows no executor.

Each executor says how its own calls are submitted, waited for and dropped.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import ConfigurationError

C = TypeVar("C")


class OrderedMap(Generic[C]):
    """A ``map`` under way.

    :param items: What its calls are made of, taken in the thread that consumes the results, whose
        context they may need.
    :param buffersize: How many calls may be ahead of the results; ``None`` for all.
    :ivar calls: Calls that were submitted and whose results were not handed out, in their order.
    """

    def __init__(self, items: Iterator[Any], buffersize: int | None) -> None:
        self.calls: deque[C] = deque()
        self._items: Iterator[Any] | None = items
        self._ahead = buffersize or sys.maxsize

    def submit(self, items: Sequence[Any]) -> None:
        """Submit calls, and append them to :attr:`calls`."""
        raise NotImplementedError

    def wait(self, timeout: float | None) -> Any:
        """Return the result of the first of the calls, or raise what it raised."""
        raise NotImplementedError

    def drop(self) -> None:
        """Cancel those of the calls that have not started; called once, at the end."""
        raise NotImplementedError

    def begin(self, at_first: int, at_a_time: int) -> None:
        """Submit what is to be submitted at once.

        :param at_first: How many calls are submitted by themselves.
        :param at_a_time: How many are submitted together after these.
        """
        count = at_first
        try:
            while self._take(min(count, self._ahead - len(self.calls))):
                count = at_a_time
        except BaseException:  # an item that cannot be sent, or cannot be had
            self._end()
            raise

    def results(self, timeout: float | None) -> Generator[Any, None, None]:
        """Return the results, submitting what is still to be submitted as they are taken.

        :param timeout: Seconds, from now, until the last one must be there; ``None`` waits for
            ever.
        :raises TimeoutError: It is not; what has not started is cancelled.
        """
        # The time begins here, and not where the first result is taken.
        return self._results(None if timeout is None else monotonic() + timeout)

    def _results(self, end_at: float | None) -> Generator[Any, None, None]:
        try:
            while self.calls:
                if self._items is not None:
                    self._take(1)
                yield self._take_result(None if end_at is None else end_at - monotonic())
        finally:
            self._end()

    def _take(self, count: int) -> bool:
        """Submit some more calls, and return whether there may be others."""
        assert self._items is not None
        items = list(islice(self._items, count))
        if len(items) < count:
            self._items = None  # it leads to the caller's context variables
        if items:
            self.submit(items)
        return bool(items) and self._items is not None

    def _take_result(self, timeout: float | None) -> Any:
        result = self.wait(timeout)
        self.calls.popleft()  # the consumer alone decides how long a result lives
        return result

    def _end(self) -> None:
        try:
            self.drop()
        finally:
            # An error's traceback leads here: it shall not lead on to the future that holds it.
            self.calls.clear()


def check_map_option(option: str, value: object) -> None:
    """Check ``chunksize`` or ``buffersize`` of a ``map``.

    :raises TypeError: It is no whole number.
    :raises ConfigurationError: It is less than 1.
    """
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{option}={value!r} is no whole number. Give one from 1 on.")
    if value < 1:
        raise ConfigurationError(
            f"{option}={value!r} is no whole number of at least 1: {option} must be None or > 0."
        )
