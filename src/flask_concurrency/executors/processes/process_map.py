"""Decide which calls of a ``map`` go to worker processes together. Knows no worker."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from itertools import islice
from typing import Any, Final, Literal

from flask_concurrency.executors.ordered_map import OrderedMap, check_map_option
from flask_concurrency.executors.processes.chunk_sizes import ChunkSizes
from flask_concurrency.executors.processes.payloads import ChunkedCall, TimedChunkedCall
from flask_concurrency.executors.processes.records import ProcessFuture
from flask_concurrency.vocabulary.errors import ConfigurationError

Items = Iterator[tuple[Any, ...]]
Submit = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Sequence[Future[Any]]]

ChunkSize = int | Literal["auto"]
AUTO: Final = "auto"
AHEAD: Final = 3
"""Chunks for each worker that are sent before the first result is taken: while one is read, the
worker has the next, and their sizes can follow what tasks took."""

_AT_HAND = (list, tuple, range)
_AT_A_TIME = 64


def map_in_order(
    submit: Submit,
    fn: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    *,
    at_first: int,
    timeout: float | None,
    chunksize: ChunkSize,
    buffersize: int | None,
) -> Iterator[Any]:
    """Submit a call for each item, and return the results in the order of the items.

    :param submit: Takes a function and the arguments of calls of it, and gives their futures.
    :param at_first: How many calls the workers can begin with. They are submitted by themselves,
        so that the workers work while the rest is pickled.
    """
    check_map_option("buffersize", buffersize)
    items: Items = zip(*iterables, strict=False)
    if chunksize == AUTO:
        if buffersize is not None:
            raise ConfigurationError(
                f"chunksize={AUTO!r} takes items as results are taken, some chunks for each worker "
                f"ahead: leave buffersize={buffersize!r} out."
            )
        return _in_fitting_chunks(submit, fn, items, ahead=AHEAD * at_first, timeout=timeout)
    check_map_option("chunksize", chunksize)
    assert isinstance(chunksize, int)
    # Items that come one by one, slowly perhaps, are submitted one by one.
    at_hand = chunksize == 1 and all(isinstance(source, _AT_HAND) for source in iterables)
    if chunksize > 1:
        fn, items = ChunkedCall(fn), _chunks(items, chunksize)
    mapped = ProcessMap(submit, fn, items, buffersize)
    results = mapped.results(timeout)
    mapped.begin(at_first if at_hand else 1, _AT_A_TIME if at_hand else 1)
    return results if chunksize == 1 else _one_by_one(results)


class ProcessMap(OrderedMap[Future[Any]]):
    """The calls of a ``map`` on worker processes."""

    def __init__(
        self, submit: Submit, fn: Callable[..., Any], items: Items, buffersize: int | None
    ) -> None:
        super().__init__(items, buffersize)
        self._submit = submit
        self._fn = fn

    def submit(self, items: Sequence[tuple[Any, ...]]) -> None:
        """Submit calls, and append their futures."""
        self.calls.extend(self._submit(self._fn, items))

    def wait(self, timeout: float | None) -> Any:
        """Return the result of the first of the calls, or raise what it raised."""
        return self.calls[0].result(timeout)

    def drop(self) -> None:
        """Cancel those that have not started."""
        for future in self.calls:
            if isinstance(future, ProcessFuture):  # else it ran where it was submitted
                future.cancel_if_waiting()


def _in_fitting_chunks(
    submit: Submit, fn: Callable[..., Any], items: Items, *, ahead: int, timeout: float | None
) -> Iterator[Any]:
    """Have each task take as many items as its forerunners show to be worth a task."""
    sizes = ChunkSizes()
    mapped = ProcessMap(submit, TimedChunkedCall(fn), _sized_chunks(items, sizes), ahead)
    timed = mapped.results(timeout)
    mapped.begin(1, 1)

    def chunks() -> Generator[Any, None, None]:
        with closing(timed):
            for seconds, chunk in timed:
                sizes.took(len(chunk), seconds)
                yield chunk
                del chunk

    return _one_by_one(chunks())


def _one_by_one(chunks: Generator[Any, None, None]) -> Generator[Any, None, None]:
    with closing(chunks):
        for chunk in chunks:
            chunk.reverse()
            while chunk:
                yield chunk.pop()  # the consumer alone decides how long a result lives


def _sized_chunks(items: Items, sizes: ChunkSizes) -> Items:
    while chunk := tuple(islice(items, sizes.next)):
        yield (chunk,)


def _chunks(items: Items, size: int) -> Items:
    while chunk := tuple(islice(items, size)):
        yield (chunk,)
