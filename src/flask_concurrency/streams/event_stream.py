"""Keep a stream of events alive between events, and end it when the server stops.

Knows sources and drains; knows no request. What the source does, it does in the context variables
of the code that made the stream.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import Any, Final

from flask_concurrency.runtime.drain import Drain
from flask_concurrency.streams.server_sent_events import HEARTBEAT

Encode = Callable[[Any], bytes]

_ITEM: Final = object()
_END: Final = object()
_NOTHING: Final = object()


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
    listening = _Listening(source, heartbeat, loop)
    ticket = drain.call(listening.end_soon)
    task: asyncio.Task[None] | None = None
    try:
        yield HEARTBEAT  # servers send the head of an answer with the first piece of its body
        task = loop.create_task(listening.listen(), context=context)
        while True:
            await listening.news()
            if listening.heard is not _NOTHING:
                item, listening.heard = listening.heard, _NOTHING
                yield encode(item)
                del item  # the next one may be long in coming
            elif listening.over:
                task.result()
                return
            elif not listening.ending:
                yield HEARTBEAT
            if listening.ending:
                return
    finally:
        drain.forget(ticket)
        listening.stop()
        if task is not None:
            if not task.done():
                task.cancel()
                # Not awaited itself: a client that has left needs no result of the source.
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()
        close = getattr(source, "aclose", None)
        if close is not None:
            await loop.create_task(close(), context=context)


class _Listening:
    """Asks an asynchronous source for its items, each when the last one was taken.

    One task asks all the time, because a caller that gives up waiting for a source ends it; and one
    timer runs, set anew when it has rung, because most items come long before.

    :ivar heard: The item that came, until it is read.
    :ivar over: The source has ended, or failed.
    :ivar ending: The server ends.
    """

    __slots__ = (
        "_asked_at",
        "_heartbeat",
        "_loop",
        "_reader",
        "_source",
        "_taken",
        "_timer",
        "ending",
        "heard",
        "over",
    )

    def __init__(
        self,
        source: AsyncIterator[Any],
        heartbeat: float | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._source = source
        self._heartbeat = heartbeat
        self._loop = loop
        self._reader: asyncio.Future[None] | None = None
        self._taken: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asked_at = 0.0
        self.heard: Any = _NOTHING
        self.over = False
        self.ending = False

    async def listen(self) -> None:
        """Ask until the source ends; a task of its own."""
        try:
            async for item in self._source:
                self.heard = item
                del item
                self._taken = self._loop.create_future()
                self._wake()
                await self._taken
        finally:
            self.over = True
            self._wake()  # the reader goes on in the loop's next turn, when the task has ended

    def news(self) -> asyncio.Future[None]:
        """Done at an item, at the end of either side, or when silence has lasted long enough."""
        if self._taken is not None:
            _settle(self._taken)
            self._taken = None
        self._asked_at = self._loop.time()
        if self._timer is None and self._heartbeat is not None:
            self._timer = self._loop.call_later(self._heartbeat, self._ring)
        self._reader = self._loop.create_future()
        if self.over or self.ending:
            self._wake()
        return self._reader

    def end_soon(self) -> None:
        """Note that the server stops, in any thread."""
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.ending = True
        self._wake()

    def stop(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        assert self._heartbeat is not None
        silent_until = self._asked_at + self._heartbeat
        if silent_until > self._loop.time():
            self._timer = self._loop.call_at(silent_until, self._ring)
        else:
            self._timer = None
            self._wake()

    def _wake(self) -> None:
        if self._reader is not None:
            _settle(self._reader)


class Beating(Iterator[bytes]):
    """The events of a source that blocks, until it or the server ends.

    A thread that waits for an item cannot send signs of life meanwhile, so the source runs on a
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


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _close(source: Any) -> None:
    close = getattr(source, "close", None)
    if close is not None:
        close()
