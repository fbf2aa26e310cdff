"""Hand messages on to all listeners. Knows neither requests nor browsers."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator

from flask_concurrency import Event

Listener = tuple[asyncio.AbstractEventLoop, asyncio.Queue[Event]]


class Room:
    """What was said lately, and who listens. Any thread may speak.

    :param remembered: Messages that are kept for those who come late or were cut off.
    """

    def __init__(self, *, remembered: int) -> None:
        self._said: deque[tuple[int, Event]] = deque(maxlen=remembered)
        self._listeners: set[Listener] = set()
        self._number = 0
        self._lock = threading.Lock()

    def say(self, name: str, text: str) -> None:
        """Send a message to all listeners."""
        with self._lock:
            self._number += 1
            event = Event({"name": name, "text": text}, id=str(self._number))
            self._said.append((self._number, event))
            for loop, queue in self._listeners:
                loop.call_soon_threadsafe(queue.put_nowait, event)

    async def listen(self, last_id: str | None) -> AsyncIterator[Event]:
        """Hear everything after the message with this number, from now on without end.

        Numbers begin anew with the process: one that was not given yet is of another room.
        """
        heard = int(last_id) if last_id is not None and last_id.isdecimal() else 0
        listener: Listener = (asyncio.get_running_loop(), asyncio.Queue())
        with self._lock:
            if heard > self._number:
                heard = 0
            missed = [event for number, event in self._said if number > heard]
            self._listeners.add(listener)
        try:
            for event in missed:
                yield event
            while True:
                yield await listener[1].get()
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def __len__(self) -> int:
        """How many listen."""
        with self._lock:
            return len(self._listeners)
