"""Send requests that are all inside a view at the same time. Knows no limit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from flask import Flask


class Room:
    """A view in which all requests stay until each has come in or was refused.

    :param expected: Requests that will come.
    :ivar most: Requests inside at the same time, at most.
    :ivar refused: Requests that never got inside.
    """

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.most = 0
        self.refused = 0
        self._changed = threading.Condition()

    def stay(self) -> str:
        """Come in, and leave when all the others came in or were refused."""
        with self._changed:
            self.most += 1  # no request leaves before the last one came
            self._changed.notify_all()
            if not self._changed.wait_for(self._all_decided, timeout=10):
                raise TimeoutError(f"Only {self.most + self.refused} of {self.expected} came.")
        return "done"

    def turn_away(self) -> None:
        """Count a request that was refused."""
        with self._changed:
            self.refused += 1
            self._changed.notify_all()

    def _all_decided(self) -> bool:
        return self.most + self.refused >= self.expected


def send_at_once(app: Flask, room: Room) -> None:
    """Send as many requests as the room expects, all at the same time."""

    def ask(_: int) -> None:
        if app.test_client().get("/").status_code != 200:
            room.turn_away()

    with ThreadPoolExecutor(room.expected) as clients:
        list(clients.map(ask, range(room.expected)))
