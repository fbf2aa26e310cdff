"""Send many HTTP requests at the very same moment and note when each is answered.

Decides nothing about the servers under load and knows no Flask.
"""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's answer; instants in seconds since all requests were sent.

    :ivar status: The HTTP status; ``None`` if there was no answer.
    :ivar content: What its JSON body held.
    """

    status: int | None
    content: Any
    sent: float
    answered: float


def simultaneously(url: str, *, requests: int) -> list[Answer]:
    """GET ``url`` ``requests`` times at once, each on a connection that is open already."""
    parts = urlsplit(url)
    path = parts._replace(scheme="", netloc="").geturl()
    start = _StartLine(requests)

    def ask(_: int) -> Answer:
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)
        try:
            try:
                connection.connect()
            finally:
                started_at = start.wait()
            sent_at = time.monotonic()
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            answered_at = time.monotonic()
            return Answer(
                response.status, json.loads(body), sent_at - started_at, answered_at - started_at
            )
        except (OSError, HTTPException, ValueError) as error:
            return Answer(None, str(error), 0.0, 0.0)
        finally:
            connection.close()

    with ThreadPoolExecutor(requests, thread_name_prefix="load") as threads:
        return list(threads.map(ask, range(requests)))


class _StartLine:
    """Where all wait for each other; tells them the instant the last one came."""

    def __init__(self, parties: int) -> None:
        self._barrier = threading.Barrier(parties, action=self._go)
        self._started_at = 0.0

    def wait(self) -> float:
        self._barrier.wait(TIMEOUT)
        return self._started_at

    def _go(self) -> None:
        self._started_at = time.monotonic()
