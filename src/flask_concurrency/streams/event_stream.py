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


class BeatingAsync(AsyncIterator[bytes]):
    """The events of an asynchronous source, until it or the server ends.

    One task asks the source all the time, for each item when the last one was taken, because a
    caller that gives up waiting for a source ends it. One timer runs, set anew when it has rung,
    because most items come long before.

    It is no generator, and one object: of the thousands that may be open each takes 400 bytes less
    so (``./scripts/bench event-streams``).

    :param heartbeat: Seconds of silence after which a sign of life is given; ``None`` for never.
    :param context: Context variables the source runs with.
    """

    __slots__ = (
        "_asked_at",
        "_closed",
        "_context",
        "_drain",
        "_encode",
        "_ending",
        "_heard",
        "_heartbeat",
        "_loop",
        "_over",
        "_reader",
        "_source",
        "_taken",
        "_task",
        "_timer",
    )

    def __init__(
        self,
        source: AsyncIterator[Any],
        encode: Encode,
        *,
        heartbeat: float | None,
        drain: Drain,
        context: Context,
    ) -> None:
        self._source = source
        self._encode = encode
        self._heartbeat = heartbeat
        self._drain = drain
        self._context = context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._reader: asyncio.Future[None] | None = None
        self._taken: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asked_at = 0.0
        self._heard: Any = _NOTHING
        self._over = self._ending = self._closed = False

    async def __anext__(self) -> bytes:
        """The next event, or a sign of life, which comes first.

        :raises Exception: What the source raised.
        """
        try:
            await self.ask()
            piece = self.take()
            if piece is not None:
                return piece
        except BaseException:
            await self.aclose()
            raise
        await self.aclose()
        raise StopAsyncIteration

    def ask(self) -> asyncio.Future[None]:
        """Ask for what comes next, without a coroutine of its own that waits for it.

        :returns: Is done when :meth:`take` gives it.
        """
        loop = self._loop
        if loop is None:
            self._loop = loop = asyncio.get_running_loop()
            self._drain.call(self)
        elif not self._ending and not self._closed:
            if self._task is None:
                listening = self._listen(loop)
                self._task = loop.create_task(listening, name="event stream", context=self._context)
                del listening
            return self._news(loop)
        at_once: asyncio.Future[None] = loop.create_future()
        at_once.set_result(None)
        return at_once

    def take(self) -> bytes | None:
        """The next event, or a sign of life, which comes first; ``None`` at the end.

        :raises Exception: What the source raised.
        """
        if self._heard is not _NOTHING:
            item, self._heard = self._heard, _NOTHING
            return self._encode(item)
        if self._over and self._task is not None:
            self._task.result()
            return None
        # Servers send the head of an answer with the first piece of its body.
        return None if self._ending or self._closed else HEARTBEAT

    def __call__(self) -> None:
        """End soon; in any thread. A method instead of this would take 64 bytes in the drain."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._end)

    async def aclose(self) -> None:
        """End the source where it awaits, if it has begun, and leave nothing behind."""
        loop = self._loop
        if self._closed or loop is None:
            return
        self._closed = True
        self._drain.forget(self)
        if self._timer is not None:
            self._timer.cancel()
        task = self._task
        if task is not None:
            if not task.done():
                task.cancel()
                # Not awaited itself: a client that has left needs no result of the source.
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await loop.create_task(close(), context=self._context)

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ask until the source ends; a task of its own."""
        try:
            async for item in self._source:
                self._heard = item
                del item
                self._taken = loop.create_future()
                self._wake()
                await self._taken
        finally:
            self._over = True
            self._wake()  # the reader goes on in the loop's next turn, when the task has ended

    def _news(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Done at an item, at the end of either side, or when silence has lasted long enough."""
        if self._taken is not None:
            _settle(self._taken)
            self._taken = None
        self._asked_at = loop.time()
        if self._timer is None and self._heartbeat is not None:
            self._timer = loop.call_later(self._heartbeat, self._ring, context=self._context)
        self._reader = loop.create_future()
        if self._over:
            self._wake()
        return self._reader

    def _end(self) -> None:
        self._ending = True
        self._wake()

    def _ring(self) -> None:
        assert self._heartbeat is not None
        assert self._loop is not None
        silent_until = self._asked_at + self._heartbeat
        if silent_until > self._loop.time():
            self._timer = self._loop.call_at(silent_until, self._ring, context=self._context)
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
        self._ticket: Callable[[], object] | None = None
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
