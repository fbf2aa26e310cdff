"""Decide when the calls of a ``map`` are submitted and its results handed out. Knows no worker."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from itertools import islice
from typing import Any

from flask_concurrency.executors.processes.payloads import ChunkedCall
from flask_concurrency.executors.processes.records import ProcessFuture
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import ConfigurationError

Items = Iterator[tuple[Any, ...]]
Submit = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Sequence[Future[Any]]]

_AT_HAND = (list, tuple, range)
_AT_A_TIME = 64


def map_in_order(
    submit: Submit,
    fn: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    *,
    at_first: int,
    timeout: float | None,
    chunksize: int,
    buffersize: int | None,
) -> Iterator[Any]:
    """Submit a call for each item, and return the results in the order of the items.

    :param submit: Takes a function and the arguments of calls of it, and gives their futures.
    :param at_first: How many calls the workers can begin with. They are submitted by themselves,
        so that the workers work while the rest is pickled.
    """
    for option, value in (("chunksize", chunksize), ("buffersize", buffersize)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise TypeError(f"{option}={value!r} is no whole number. Give one from 1 on.")
        if value is not None and value < 1:
            raise ConfigurationError(f"{option}={value!r} is no whole number of at least 1.")
    end_at = None if timeout is None else monotonic() + timeout
    items: Items = zip(*iterables, strict=False)
    # Items that come one by one, slowly perhaps, are submitted one by one.
    at_hand = chunksize == 1 and all(isinstance(source, _AT_HAND) for source in iterables)
    if chunksize > 1:
        fn, items = ChunkedCall(fn), _chunks(items, chunksize)
    calls = _Calls(submit, fn, items, ahead=buffersize or sys.maxsize)
    calls.begin(at_first if at_hand else 1, _AT_A_TIME if at_hand else 1)
    results = calls.results(end_at)
    return results if chunksize == 1 else _one_by_one(results)


class _Calls:
    """The calls of a ``map``: those on their way, and the items that are still to be taken.

    :param ahead: How many are submitted before the first result is asked for.
    """

    def __init__(self, submit: Submit, fn: Callable[..., Any], items: Items, *, ahead: int) -> None:
        self._submit = submit
        self._fn = fn
        self._items = items
        self._ahead = ahead
        self._futures: deque[Future[Any]] = deque()
        self._exhausted = False

    def begin(self, at_first: int, at_a_time: int) -> None:
        """Submit what is to be submitted at once."""
        count = at_first
        try:
            while self._take(min(count, self._ahead - len(self._futures))):
                count = at_a_time
        except BaseException:  # an item that cannot be pickled, or cannot be had
            self._cancel()
            raise

    def results(self, end_at: float | None) -> Generator[Any, None, None]:
        """Yield the results, submitting what is still to be submitted on the way."""
        try:
            while self._futures:
                if not self._exhausted:
                    self._take(1)
                yield self._result(None if end_at is None else end_at - monotonic())
        finally:
            self._cancel()

    def _take(self, count: int) -> bool:
        """Submit some more calls, and return whether there were any."""
        items = list(islice(self._items, count))
        self._exhausted = len(items) < count
        if items:
            self._futures.extend(self._submit(self._fn, items))
        return bool(items) and not self._exhausted

    def _result(self, timeout: float | None) -> Any:
        result = self._futures[0].result(timeout)
        self._futures.popleft()  # the consumer alone decides how long a result lives
        return result

    def _cancel(self) -> None:
        for future in self._futures:
            if isinstance(future, ProcessFuture):  # else it ran where it was submitted
                future.cancel_if_waiting()
        self._futures.clear()  # the traceback of an error leads here, and not on to its future


def _one_by_one(chunks: Generator[Any, None, None]) -> Generator[Any, None, None]:
    with closing(chunks):
        for chunk in chunks:
            chunk.reverse()
            while chunk:
                yield chunk.pop()  # the consumer alone decides how long a result lives


def _chunks(items: Items, size: int) -> Items:
    while chunk := tuple(islice(items, size)):
        yield (chunk,)
