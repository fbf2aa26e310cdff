"""Decide when the calls of a ``map`` are submitted and its results handed out. Knows no worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import chain, islice
from typing import Any

from flask_concurrency.executors.processes.call import ChunkedCall
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import ConfigurationError

Submit = Callable[[Callable[..., Any], tuple[Any, ...]], Future[Any]]


def map_in_order(
    submit: Submit,
    fn: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    *,
    timeout: float | None,
    chunksize: int,
    buffersize: int | None,
) -> Iterator[Any]:
    """Submit a call for each item, and return the results in the order of the items.

    :param submit: Takes a function and its arguments; not to be refused but for the first one.
    """
    for option, value in (("chunksize", chunksize), ("buffersize", buffersize)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ConfigurationError(f"{option}={value!r} is no whole number of at least 1.")
    end_at = None if timeout is None else monotonic() + timeout
    items: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
    if chunksize == 1:
        return _results(*_begin(submit, fn, items, buffersize), end_at)
    chunks = _begin(submit, ChunkedCall(fn), _chunks(items, chunksize), buffersize)
    return chain.from_iterable(_results(*chunks, end_at))


def _begin(
    submit: Submit,
    fn: Callable[..., Any],
    items: Iterator[tuple[Any, ...]],
    buffersize: int | None,
) -> tuple[deque[Future[Any]], Iterator[Future[Any]]]:
    """Submit what is to be submitted at once; the rest is submitted as it is iterated over."""
    calls = (submit(fn, item) for item in items)
    futures: deque[Future[Any]] = deque()
    try:
        futures.extend(islice(calls, buffersize))
    except BaseException:  # an item that cannot be pickled, or cannot be had
        _cancel(futures)
        raise
    return futures, calls


def _results(
    futures: deque[Future[Any]], to_come: Iterator[Future[Any]], end_at: float | None
) -> Iterator[Any]:
    try:
        while futures:
            futures.extend(islice(to_come, 1))
            yield _take(futures, None if end_at is None else end_at - monotonic())
    finally:
        _cancel(futures)


def _take(futures: deque[Future[Any]], timeout: float | None) -> Any:
    result = futures[0].result(timeout)
    futures.popleft()  # whoever takes the result decides how long it lives
    return result


def _cancel(futures: deque[Future[Any]]) -> None:
    for future in futures:
        future.cancel()
    futures.clear()  # the traceback of an error leads here, and shall not lead to its future


def _chunks(
    items: Iterator[tuple[Any, ...]], size: int
) -> Iterator[tuple[tuple[tuple[Any, ...], ...]]]:
    while chunk := tuple(islice(items, size)):
        yield (chunk,)
