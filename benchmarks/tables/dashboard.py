"""Measure what the dashboard's page weighs, and what it costs a server while ten people watch.

They watch as the page does: by a stream where the server gives them one, else by asking every two
seconds. Watched and unwatched take turns, and the difference is what watching costs.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from statistics import median

from examples.monitoring.served_shop import ServedShop, served

from benchmarks.benchmark import Trial
from flask_concurrency.cli.tune.processor_time import used

PREFIX = "/_concurrency/"
WATCHING = 10
LASTS = 20.0
"""Seconds of one turn."""
ROUNDS = 3
POLLS = 2.0
AT_MOST = 0.01
"""Share of a core that ten who watch may take."""
PAGE_AT_MOST = 150_000


def measure(quick: bool) -> list[list[str]]:
    """The table."""
    lasts, rounds = (1.0, 1) if quick else (LASTS, ROUNDS)
    with served() as shop:
        for number in range(40):
            shop.ask(f"/items/{number}")
        page = weight(shop)
        alone, watched = [], []
        for _ in range(rounds):
            alone.append(share(shop.session, lasts))
            with watching(shop, WATCHING) as streams:
                watched.append(share(shop.session, lasts))
    more = median(watched) - median(alone)
    reached = "" if quick else ("yes" if more <= AT_MOST else "no")
    return [
        ["", "measured", "target", "reached"],
        ["the page and all it loads, bytes", f"{page:,}", f"≤ {PAGE_AT_MOST:,}",
         "yes" if page <= PAGE_AT_MOST else "no"],
        ["unwatched, share of a core", f"{median(alone):.2%}", "", ""],
        [f"{WATCHING} watch, {streams[0]} of them by a stream", f"{median(watched):.2%}", "", ""],
        ["what they cost", f"{more:.2%}", f"≤ {AT_MOST:.0%}", reached],
    ]  # fmt: skip


def share(session: int, seconds: float) -> float:
    """The share of a core that the server uses."""
    began_at, before = time.perf_counter(), used(session).ran
    time.sleep(seconds)
    return (used(session).ran - before) / (time.perf_counter() - began_at)


def weight(shop: ServedShop) -> int:
    """Bytes of the page and of what it loads."""
    status, page = shop.ask(PREFIX)
    assert status == 200
    loaded = re.findall(rb'(?:src|href)="([a-z.]+)"', page)
    return len(page) + sum(len(shop.ask(PREFIX + name.decode())[1]) for name in loaded)


@contextmanager
def watching(shop: ServedShop, number: int) -> Iterator[list[int]]:
    """People who look at the page; gives how many of them got a stream."""
    stop, streams = threading.Event(), [0]

    def watch() -> None:
        with suppress(OSError, http.client.HTTPException):
            connection = shop.connect()
            connection.request("GET", f"{PREFIX}feed")
            response = connection.getresponse()
            if response.status == 200:
                streams[0] += 1
                while not stop.is_set():
                    response.readline()
                connection.close()  # the stream has no end
                return
            response.read()
            while not stop.wait(POLLS):
                connection.request("GET", f"{PREFIX}data.json?after={int(time.time()) - 3}")
                connection.getresponse().read()

    people = [threading.Thread(target=watch) for _ in range(number)]
    for each in people:
        each.start()
        time.sleep(0.13)  # nobody opens ten pages at the same instant
    time.sleep(2.0)
    try:
        yield streams
    finally:
        stop.set()
        for each in people:
            each.join()


TRIALS = (Trial("dashboard", "the dashboard: its weight, and ten people who watch", measure),)
