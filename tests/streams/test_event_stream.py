"""A stream gives signs of life while its source is silent, and ends when the server does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from flask_concurrency.runtime.drain import Drain
from flask_concurrency.streams.event_stream import Beating, BeatingAsync, ending
from flask_concurrency.streams.server_sent_events import HEARTBEAT

LONG = 3600.0
SHORT = 0.001
WAIT = 30

whose: ContextVar[str] = ContextVar("whose", default="nobody's")


def text(item: Any) -> bytes:
    return str(item).encode()


def stream(
    source: AsyncIterator[Any], drain: Drain | None = None, heartbeat: float | None = LONG
) -> AsyncIterator[bytes]:
    return BeatingAsync(
        source, text, heartbeat=heartbeat, drain=drain or Drain(), context=copy_context()
    )


def beating(source: Iterator[Any], drain: Drain | None = None, heartbeat: float = LONG) -> Beating:
    return Beating(
        source, text, heartbeat=heartbeat, drain=drain or Drain(), context=copy_context()
    )


async def count(to: int, ended: list[str] | None = None) -> AsyncIterator[int]:
    try:
        for number in range(to):
            yield number
    finally:
        if ended is not None:
            await asyncio.sleep(0)
            ended.append("ended")


def test_a_source_is_read_to_its_end() -> None:
    """The first piece is a sign of life: servers send the head of an answer with it."""

    async def read() -> list[bytes]:
        return [chunk async for chunk in stream(count(3))]

    assert asyncio.run(read()) == [HEARTBEAT, b"0", b"1", b"2"]


def test_a_silent_source_is_asked_once() -> None:
    """Signs of life neither cancel its step nor begin another."""

    async def read() -> tuple[list[bytes], int]:
        asked = 0
        speak = asyncio.Event()

        async def slow() -> AsyncIterator[int]:
            nonlocal asked
            asked += 1
            await speak.wait()
            yield 1

        chunks = []
        async for chunk in stream(slow(), heartbeat=SHORT):
            chunks.append(chunk)
            if len(chunks) == 3:
                speak.set()
        return chunks, asked

    chunks, asked = asyncio.run(read())
    assert chunks[:3] == [HEARTBEAT] * 3
    assert chunks[-1] == b"1"
    assert asked == 1


def test_a_drain_ends_a_silent_stream() -> None:
    """It does not wait for the next item; what the source has to tidy up, it does."""

    async def read() -> tuple[list[bytes], list[str]]:
        ended: list[str] = []
        drain = Drain()

        async def silent() -> AsyncIterator[int]:
            try:
                drain.begin()
                await asyncio.sleep(LONG)
                yield 1
            finally:
                ended.append("ended")

        return [chunk async for chunk in stream(silent(), drain)], ended

    assert asyncio.run(read()) == ([HEARTBEAT], ["ended"])


def test_a_drain_ends_a_stream_that_never_pauses() -> None:
    """After the item that was on its way."""

    async def read() -> list[bytes]:
        drain = Drain()
        chunks = []
        async for chunk in stream(count(1000), drain):
            chunks.append(chunk)
            if len(chunks) == 3:
                drain.begin()
        return chunks

    chunks = asyncio.run(read())
    assert len(chunks) <= 4


def test_a_reader_that_leaves_ends_the_source() -> None:
    """Wherever it is: waiting, or between two items."""

    async def leave(after: int) -> list[str]:
        ended: list[str] = []
        reading = stream(count(5, ended))
        for _ in range(after):
            await anext(reading)
        await reading.aclose()  # type: ignore[attr-defined]
        return ended

    async def leave_while_waiting() -> list[str]:
        ended: list[str] = []
        waits = asyncio.Event()

        async def silent() -> AsyncIterator[int]:
            try:
                waits.set()
                await asyncio.sleep(LONG)
                yield 1
            finally:
                ended.append("ended")

        async def read() -> None:
            async for _ in stream(silent()):
                pass

        task = asyncio.create_task(read())
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return ended

    assert asyncio.run(leave(2)) == ["ended"]
    assert asyncio.run(leave_while_waiting()) == ["ended"]


def test_an_error_of_the_source_is_the_stream_s() -> None:
    """The server cuts the connection, and the browser comes back."""

    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ZeroDivisionError

    async def read() -> None:
        async for _ in stream(broken()):
            pass

    with pytest.raises(ZeroDivisionError):
        asyncio.run(read())

    def broken_too() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(beating(broken_too()))


def test_a_source_keeps_one_context_for_all_its_steps() -> None:
    """That of the code that made the stream; only the source sees what it sets there."""

    async def mine() -> AsyncIterator[str]:
        yield whose.get()
        whose.set("the source's")
        yield whose.get()

    async def read() -> list[bytes]:
        whose.set("the view's")
        reading = stream(mine())
        whose.set("the server's")
        return [chunk async for chunk in reading]

    assert asyncio.run(read())[1:] == [b"the view's", b"the source's"]
    assert whose.get() == "nobody's"


@pytest.mark.parametrize(
    "make", [beating, lambda s: ending(s, text, drain=Drain(), context=copy_context())]
)
def test_a_blocking_source_is_read_to_its_end(
    make: Callable[[Iterator[int]], Iterator[bytes]],
) -> None:
    """In its order, and closed."""
    ended = []

    def source() -> Iterator[int]:
        try:
            yield from range(3)
        finally:
            ended.append(whose.get())

    assert list(make(source())) == [HEARTBEAT, b"0", b"1", b"2"]
    assert ended == ["nobody's"]


def test_a_blocking_source_that_is_silent_gives_signs_of_life() -> None:
    """Its thread waits, the reader does not."""
    speak = threading.Event()

    def source() -> Iterator[int]:
        assert speak.wait(WAIT)
        yield 1

    reading = beating(source(), heartbeat=SHORT)
    assert [next(reading) for _ in range(3)] == [HEARTBEAT] * 3
    speak.set()
    assert b"1" in list(reading)


def test_a_blocking_source_is_never_ahead_of_its_reader() -> None:
    """It makes one item, and the next when that was taken."""
    made = []
    asked = threading.Semaphore(0)

    def source() -> Iterator[int]:
        for number in range(3):
            made.append(number)
            asked.release()
            yield number

    reading = beating(source())
    next(reading)
    assert asked.acquire(timeout=WAIT)
    assert made == [0]
    assert next(reading) == b"0"
    assert asked.acquire(timeout=WAIT)
    assert made == [0, 1]
    reading.close()


@pytest.mark.parametrize("started", [True, False])
def test_a_blocking_source_ends_when_its_reader_has_left(started: bool) -> None:
    """After the item it was waiting for, if it was begun."""
    ended = threading.Event()

    class Source(Iterator[int]):
        def __next__(self) -> int:
            return 1

        def close(self) -> None:
            ended.set()

    reading = beating(Source())
    if started:
        next(reading)
    reading.close()
    assert ended.wait(WAIT)
    assert list(reading) == []


def test_a_drain_ends_a_blocking_stream() -> None:
    """At once with signs of life; between two items without."""
    drain, speak = Drain(), threading.Event()

    def silent() -> Iterator[int]:
        assert speak.wait(WAIT)
        yield 1

    reading = beating(silent(), drain)
    next(reading)
    drain.begin()
    assert list(reading) == []
    speak.set()

    drain = Drain()
    plain = ending(iter(range(3)), text, drain=drain, context=copy_context())
    assert [next(plain), next(plain)] == [HEARTBEAT, b"0"]
    drain.begin()
    assert list(plain) == []
