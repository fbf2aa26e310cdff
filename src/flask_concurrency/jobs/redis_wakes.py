"""Wake a worker once a Redis server has something for it to do: one thread waits for the server.

What there is to do goes into a stream of one entry: of all that wait, each is woken, and none
misses what comes between two of its waits. A wake may still be lost, with its server or for want of
rights; so a worker looks by itself, too. Knows no job and no worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from flask_concurrency.stores.redis.client import ERRORS
from flask_concurrency.stores.redis.connections import (
    Caller,
    Client,
    connect,
    disconnect,
    end_within,
)
from flask_concurrency.stores.redis.url import Address
from flask_concurrency.vocabulary.safe_logger import SafeLogger

WAIT: Final = 10.0
"""Seconds of one wait: then the server is asked anew, for a connection may have been cut unseen."""
PAUSE: Final = 0.02
"""Seconds between two wakes, so that many jobs at once cost a worker 50 looks a second at most."""
PAUSE_AFTER_ERROR: Final = 0.5
TRIED_AGAIN_AFTER: Final = 0.05

logger: Final = SafeLogger("flask_concurrency.jobs")


@contextmanager
def waking(
    address: Address, stream: str, wake: Callable[[], object], *, timeout: float
) -> Iterator[None]:
    """Call ``wake`` after each entry of a stream, on a thread that ends with the block.

    :param timeout: Seconds that the server gets to answer, beyond those of the wait.
    """
    waits = _Waits(address, stream, wake, timeout)
    thread = threading.Thread(target=waits.run, name="job-wakes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        waits.ended.set()
        while thread.is_alive():  # it may be about to connect
            waits.disconnect()
            thread.join(TRIED_AGAIN_AFTER)


class _Waits:
    """Waits for one stream until it is ended."""

    def __init__(
        self, address: Address, stream: str, wake: Callable[[], object], timeout: float
    ) -> None:
        self.ended = threading.Event()
        self._address = address
        self._stream = stream
        self._wake = wake
        self._timeout = timeout
        self._client: Client | None = None

    def run(self) -> None:
        """Wait again and again. An error is told once, until the server answers again."""
        seen, told = "0", False
        while not self.ended.is_set():
            try:
                newest = self._newer_than(seen)
            except ERRORS as error:
                if not told and not self.ended.is_set():
                    logger.warning(
                        "The worker is not woken by %r, and looks for jobs by itself: %s",
                        *(self._address.text, error),
                    )
                told = True
                self.ended.wait(PAUSE_AFTER_ERROR)
                continue
            told = False
            if newest != seen:
                seen = newest
                self._wake()
                self.ended.wait(PAUSE)

    def disconnect(self) -> None:
        """Close its connections, so that it waits no longer."""
        if self._client is not None:
            with suppress(*ERRORS):
                disconnect(self._client)

    def _newer_than(self, seen: str) -> str:
        """The id of the newest entry; ``seen`` if none came in time."""
        end_within(WAIT + self._timeout)
        if self._client is None:
            self._client = connect(self._address)
            self._call = Caller(self._client)
        reply = self._call("XREAD", "BLOCK", str(int(WAIT * 1e3)), "STREAMS", self._stream, seen)
        if not reply:
            return seen
        newest: bytes = reply[0][1][-1][0]
        return newest.decode()
