"""Send requests at a steady rate to several servers, however slow they are, and count as it goes.

Decides nothing about the servers under load and knows no Flask.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 2.0
"""Seconds after which a client gives up, as people do."""

EVERY = 0.25
"""Seconds between two counts."""


@dataclass(slots=True)
class Counts:
    """What became of requests so far.

    :ivar good: Answered in time.
    :ivar late: Answered, and too late to be of use.
    :ivar refused: Told to come back.
    :ivar lost: Given up by the client.
    """

    good: int = 0
    late: int = 0
    refused: int = 0
    lost: int = 0


def counted(
    urls: Mapping[str, str], *, rate: float, seconds: float, deadline: float
) -> Iterator[dict[str, Any]]:
    """Send ``rate`` requests a second to each URL, and tell four times a second what came of them.

    Closing the iterator ends the load.
    """
    counts = {name: Counts() for name in urls}
    stopped = threading.Event()
    load = threading.Thread(
        target=lambda: asyncio.run(_load(urls, counts, rate, seconds, deadline, stopped)),
        name="demo-load",
        daemon=True,
    )
    begin = time.monotonic()
    load.start()
    try:
        while load.is_alive():
            load.join(EVERY)
            told = {name: asdict(count) for name, count in counts.items()}
            yield {"at": time.monotonic() - begin, **told}
    finally:
        stopped.set()
        load.join()


async def _load(
    urls: Mapping[str, str],
    counts: Mapping[str, Counts],
    rate: float,
    seconds: float,
    deadline: float,
    stopped: threading.Event,
) -> None:
    async with asyncio.TaskGroup() as group:
        for number, (name, url) in enumerate(urls.items()):
            sending = _send(url, counts[name], rate, seconds, deadline, stopped, seed=number)
            group.create_task(sending)


async def _send(
    url: str,
    counts: Counts,
    rate: float,
    seconds: float,
    deadline: float,
    stopped: threading.Event,
    seed: int,
) -> None:
    drawn = random.Random(seed)
    clock = asyncio.get_running_loop().time
    at = begin = clock()
    async with asyncio.TaskGroup() as group:
        while (at := at + drawn.expovariate(rate)) < begin + seconds and not stopped.is_set():
            await asyncio.sleep(max(0.0, at - clock()))
            group.create_task(_ask(url, counts, at, deadline))


async def _ask(url: str, counts: Counts, at: float, deadline: float) -> None:
    parts = urlsplit(url)
    asked = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    clock = asyncio.get_running_loop().time
    status = b""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout_at(at + PATIENCE):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(asked.encode())
                status = (await reader.read(-1))[9:12]
            finally:
                writer.close()
    if status == b"200":
        counts.good += clock() - at <= deadline
        counts.late += clock() - at > deadline
    elif status == b"503":
        counts.refused += 1
    else:
        counts.lost += 1
