"""Decide how ``map`` feeds an executor whose queue is bounded. Knows no worker and no process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import Any

from flask_concurrency.executors.processes.call import ChunkedCall
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import ConfigurationError, QueueFull

Submit = Callable[..., Future[Any]]
WaitForRoom = Callable[[float | None], None]


def map_in_order(
    submit: Submit,
    wait_for_room: WaitForRoom,
    fn: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    *,
    timeout: float | None,
    chunksize: int,
    buffersize: int | None,
) -> Iterator[Any]:
    """Submit a call for each item now, as far as the queue has room, and the rest as results go.

    :returns: The results in the order of the items.
    """
    for option, value in (("chunksize", chunksize), ("buffersize", buffersize)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ConfigurationError(f"{option}={value!r} is no whole number of at least 1.")
    deadline = None if timeout is None else monotonic() + timeout
    items: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
    if chunksize == 1:
        feed = _Feed(submit, fn, items, buffersize)
    else:
        feed = _Feed(submit, ChunkedCall(fn), _chunks(items, chunksize), buffersize)
    feed.fill()
    results = _results(feed, wait_for_room, deadline)
    return results if chunksize == 1 else (value for chunk in results for value in chunk)


class _Feed:
    def __init__(
        self,
        submit: Submit,
        fn: Callable[..., Any],
        items: Iterator[tuple[Any, ...]],
        window: int | None,
    ) -> None:
        self._submit = submit
        self._fn = fn
        self._items = items
        self._window = window
        self._refused: tuple[Any, ...] | None = None
        self.exhausted = False
        self.futures: deque[Future[Any]] = deque()

    def fill(self) -> None:
        """Submit until the items, the room in the queue, or the window is used up."""
        try:
            while not self.exhausted:
                if self._window is not None and len(self.futures) >= self._window:
                    return
                item, self._refused = self._refused, None
                if item is None:
                    item = next(self._items, None)
                if item is None:
                    self.exhausted = True
                    return
                try:
                    self.futures.append(self._submit(self._fn, *item))
                except QueueFull:
                    self._refused = item
                    return
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        for future in self.futures:
            future.cancel()


def _results(feed: _Feed, wait_for_room: WaitForRoom, deadline: float | None) -> Iterator[Any]:
    try:
        while feed.futures or not feed.exhausted:
            left = None if deadline is None else deadline - monotonic()
            if not feed.futures:  # others fill the queue
                if left is not None and left <= 0:
                    raise TimeoutError
                wait_for_room(left)
            else:
                # Not kept in a name here: its result would live until the next is asked for.
                yield _result_or_cancel(feed.futures.popleft(), left)
            feed.fill()
    finally:
        feed.cancel()


def _result_or_cancel(future: Future[Any], timeout: float | None) -> Any:
    try:
        return future.result(timeout)
    finally:
        future.cancel()
        del future


def _chunks(
    items: Iterator[tuple[Any, ...]], size: int
) -> Iterator[tuple[tuple[tuple[Any, ...], ...]]]:
    while chunk := tuple(islice(items, size)):
        yield (chunk,)
