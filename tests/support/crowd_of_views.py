"""Be many clients of ``tests/apps/under_load.py`` at once, and check every answer."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CLIENTS = 50
PATIENCE = 120.0
BIG = 2 * 1024 * 1024
ROUND = (
    *("threads", "processes", "group", "async") * 11,
    *("big", "late", "threads", "crash", "async", "processes"),
)
"""What fifty requests in a row are for: in each row two workers end before their time."""


@dataclass(slots=True)
class Crowd:
    """Fifty clients and what they were answered.

    :ivar answered: Right answers, by path.
    :ivar wrong: What was wrong with the others.
    :ivar seconds: How long each right answer took.
    """

    url: str
    answered: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def visit(self, requests: int | None = None, *, seconds: float = 0.0) -> None:
        """Send so many requests, or as many as can be sent within some seconds."""
        ends_at = time.monotonic() + seconds
        places = None if requests is None else iter(range(requests))

        def client() -> None:
            connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
            while True:
                with self._lock:
                    if time.monotonic() >= ends_at if places is None else next(places, -1) < 0:
                        break
                    number = next(self._numbers)
                self._ask(connection, number)
            connection.close()

        with ThreadPoolExecutor(CLIENTS) as clients:
            for future in [clients.submit(client) for _ in range(CLIENTS)]:
                future.result()

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> None:
        path = ROUND[number % len(ROUND)]
        began_at = time.monotonic()
        try:
            connection.request("GET", f"/{path}?n={number}")
            response = connection.getresponse()
            status, body = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # it is opened again for the next request
            problem: str | None = repr(error)
        else:
            problem = _problem(path, number, status, body)
        with self._lock:
            if problem is None:
                self.answered[path] += 1
                self.seconds.append(time.monotonic() - began_at)
            else:
                self.wrong.append(f"/{path}?n={number}: {problem}")


def _problem(path: str, n: int, status: int, body: bytes) -> str | None:
    """What is wrong with an answer; ``None`` for nothing."""
    expected: dict[str, object] = {
        "threads": [n, n + 1, n + 2, n + 3, n + 4],
        "processes": [k * k for k in range(n, n + 5)],
        "group": [n + 1, n * n, n + 1],
        "async": [n + 1, n + 2, 9],
        "big": {"n": n, "bytes": BIG + 8},
        "crash": {"exitcode": n % 50 + 1},
    }
    if path == "late":
        return None if status == 504 else f"{status} instead of 504"
    if status != 200:
        return f"{status} {body[:200]!r}"
    found = json.loads(body)
    return None if found == expected[path] else f"{found!r} instead of {expected[path]!r}"
