"""Keep a stream of events alive while there is nothing to say, and end it when the server ends.

Knows sources and drains; knows no request. What the source does, it does in the context variables
of the one who made the stream.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import Any, Final

from flask_concurrency.lifecycle.drain import Drain
from flask_concurrency.lifecycle.server_sent_events import HEARTBEAT

Encode = Callable[[Any], bytes]

_ITEM: Final = object()
_END: Final = object()


async def beating_async(
    source: AsyncIterator[Any],
    encode: Encode,
    *,
    heartbeat: float | None,
    drain: Drain,
    context: Context,
) -> AsyncIterator[bytes]:
    """The events of an asynchronous source, until it or the server ends.

    :param heartbeat: Seconds of silence after which a sign of life is given; ``None`` for never.
    :param context: Context variables the source runs with.
    """
    loop = asyncio.get_running_loop()
    draining: asyncio.Future[None] = loop.create_future()
    ticket = drain.call(lambda: loop.call_soon_threadsafe(_settle, draining))
    step: asyncio.Task[Any] | None = None
    try:
        yield HEARTBEAT  # servers send the head of an answer with the first piece of its body
        while True:
            if step is None:
                step = loop.create_task(_next(source), context=context)
            await asyncio.wait(
                {step, draining}, timeout=heartbeat, return_when=asyncio.FIRST_COMPLETED
            )
            if step.done():
                kind, item = step.result()
                if kind is _END:
                    return
                step = None
                yield encode(item)
            elif draining.done():
                return
            else:
                yield HEARTBEAT
            if draining.done():
                return
    finally:
        drain.forget(ticket)
        if step is not None:
            step.cancel()
            # Not awaited itself: how the source ends is of no interest to who has left.
            await asyncio.wait({step})
            if not step.cancelled():
                step.exception()
        close = getattr(source, "aclose", None)
        if close is not None:
            await loop.create_task(close(), context=context)


class Beating(Iterator[bytes]):
    """The events of a source that blocks, until it or the server ends.

    Nobody can both wait for an item and say in between that he waits, so the source runs on a
    thread of its own.

    :param heartbeat: Seconds of silence after which a sign of life is given.
    :param context: Context variables the source runs with.
    """

    def __init__(
        self,
        source: Iterator[Any],
        encode: Encode,
        *,
        heartbeat: float,
        drain: Drain,
        context: Context,
    ) -> None:
        self._source = source
        self._encode = encode
        self._heartbeat = heartbeat
        self._drain = drain
        self._context = context
        self._heard: SimpleQueue[tuple[object, Any]] = SimpleQueue()
        # The source is asked for one item at a time, when the last one was taken.
        self._wanted = threading.Semaphore(0)
        self._ended = False
        self._ticket: object = None
        self._started = False

    def __next__(self) -> bytes:
        """The next event, or a sign of life, which comes first.

        :raises Exception: What the source raised.
        """
        if self._ended:
            raise StopIteration
        if not self._started:
            self._start()
            return HEARTBEAT
        try:
            kind, item = self._heard.get(timeout=self._heartbeat)
        except Empty:
            return HEARTBEAT
        if kind is _ITEM:
            self._wanted.release()
            return self._encode(item)
        self.close()
        if item is not None:
            raise item
        raise StopIteration

    def close(self) -> None:
        """Let the source end, after the item it is waiting for."""
        self._ended = True
        self._drain.forget(self._ticket)
        self._wanted.release()
        if not self._started:
            _close(self._source)

    def _start(self) -> None:
        self._started = True
        self._wanted.release()
        self._ticket = self._drain.call(lambda: self._heard.put((_END, None)))
        threading.Thread(
            target=self._context.run, args=(self._listen,), name="event-stream", daemon=True
        ).start()

    def _listen(self) -> None:
        error: BaseException | None = None
        try:
            while True:
                self._wanted.acquire()
                if self._ended:
                    break
                self._heard.put((_ITEM, next(self._source)))
        except StopIteration:
            pass
        except BaseException as raised:
            error = raised
        finally:
            try:
                _close(self._source)
            except BaseException as raised:
                error = error or raised
            self._heard.put((_END, error))
            del error


def ending(
    source: Iterator[Any], encode: Encode, *, drain: Drain, context: Context
) -> Iterator[bytes]:
    """The events of a source that blocks, without signs of life; it ends between two of them.

    :param context: Context variables the source runs with.
    """
    try:
        yield HEARTBEAT
        while (item := context.run(next, source, _END)) is not _END and not drain.begun:
            yield encode(item)
    finally:
        context.run(_close, source)


async def _next(source: AsyncIterator[Any]) -> tuple[object, Any]:
    # A task cannot end with StopAsyncIteration.
    try:
        return _ITEM, await anext(source)
    except StopAsyncIteration:
        return _END, None


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _close(source: Any) -> None:
    close = getattr(source, "close", None)
    if close is not None:
        close()
