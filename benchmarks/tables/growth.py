"""Measure how cost grows: with the limits of a route, with routes, keys, processes and streams.

Times are of the processor, in microseconds, the quickest of several batches. The last column says
by what factor the cost of one grows where the number grows tenfold: 1 is a cost that does not grow.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from math import log10
from typing import Any

from benchmarks import served
from benchmarks.asgi_call import scope_of
from benchmarks.benchmark import Trial
from benchmarks.scratch import host_store
from benchmarks.wsgi_call import requests_to

RATES = [f"{1_000_000 + number}/minute" for number in range(20)]
BATCHES, CALLS = 100, 20
TAKES = 4_000
"""Trips of each process to the file they share."""

Points = Iterator[tuple[int, float]]


def limits_of_a_route(numbers: Sequence[int]) -> Points:
    """What a request takes beyond one without a limit."""
    from benchmarks.tables.rates import ours

    without = _quickest(requests_to(ours()))
    for number in numbers:
        yield number, _quickest(requests_to(ours(*RATES[:number]))) - without


def routes_of_an_app(numbers: Sequence[int]) -> Points:
    """A request to the last one, each having a limit of its own."""
    from flask import Flask

    from flask_concurrency import Concurrency

    for number in numbers:
        app = Flask("growth")
        concurrency = Concurrency(app, store="memory://")
        for each in range(number):
            view = concurrency.limit("1000000/minute")(lambda: "Hello")
            app.add_url_rule(f"/route-{each}", str(each), view)
        yield number, _quickest(requests_to(app, f"/route-{number - 1}"))


def keys_of_a_store(uri: str, numbers: Sequence[int]) -> Points:
    """A trip for a key that is known, among so many."""
    from flask_concurrency import Rate
    from flask_concurrency.policies.policy import policy_for
    from flask_concurrency.stores.opening import open_store
    from flask_concurrency.stores.store import Check

    policy = policy_for(Rate("1000000/day"))
    for number in numbers:
        with ExitStack() as stack:
            opened = stack.enter_context(host_store()) if uri == "host://" else uri
            store = open_store(opened)
            checks = [[Check("route", policy, f"key {each}", 1)] for each in range(number)]
            for check in checks:
                store.take(check)
            gc.freeze()
            known = itertools.cycle(checks[:: max(1, number // 1000)])
            yield number, _quickest(lambda: store.take(next(known)))  # noqa: B023  # used at once
            store.close()
            gc.unfreeze()


def processes_on_a_file(numbers: Sequence[int]) -> Points:
    """A trip of each of so many processes that all count the same client at once."""
    for number in numbers:
        with host_store() as uri:
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(number, mp_context=spawn) as workers:
                spent = list(workers.map(_take_often, [uri] * number))
        yield number, sum(spent) / len(spent)


def open_streams(numbers: Sequence[int]) -> Points:
    """Sending one event to one of so many open streams."""
    for number in numbers:
        yield number, asyncio.run(_news(number))


ROWS: list[tuple[str, Callable[[Sequence[int]], Points], Sequence[int], str]] = [
    ("limits on a route, µs added", limits_of_a_route, (1, 5, 10, 20), "one step a limit"),
    (
        "routes of an app, µs a request",
        routes_of_an_app,
        (1, 10, 100, 1_000),
        "one look-up; Flask's routing",
    ),
    (
        "keys in memory, µs a trip",
        lambda numbers: keys_of_a_store("memory://", numbers),
        (1_000, 10_000, 100_000, 1_000_000),
        "at most 100,000 are kept",
    ),
    (
        "keys in the host's file, µs a trip",
        lambda numbers: keys_of_a_store("host://", numbers),
        (1_000, 10_000, 100_000, 1_000_000),
        "at most 32,768 are kept",
    ),
    (
        "processes on one file, one client, µs a trip",
        processes_on_a_file,
        (1, 2, 4, 8, 16),
        "the lock of that client",
    ),
    (
        "open event streams, µs an event",
        open_streams,
        (100, 1_000, 5_000),
        "a task and a timer each",
    ),
]
"""What grows, how it is measured, at which numbers, and what bounds it."""


def measure(quick: bool) -> list[list[str]]:
    """Each row by itself, one after the other."""
    rows = [["", "numbers", "cost at each", "tenfold", "what bounds it"]]
    for name, points, numbers, bound in ROWS:
        found = list(points(numbers[:2] if quick else numbers))
        (first, cheapest), (last, dearest) = found[0], found[-1]
        tenfold = (dearest / cheapest) ** (1 / log10(last / first))
        rows.append(
            [
                name,
                " · ".join(f"{number:,}" for number, _ in found),
                " · ".join(f"{cost:.1f}" for _, cost in found),
                f"× {tenfold:.2f}",
                bound,
            ]
        )
    return rows


def _quickest(call: Callable[[], object]) -> float:
    call()
    best = float("inf")
    for _ in range(BATCHES):
        begun_at = time.process_time()
        for _ in range(CALLS):
            call()
        best = min(best, (time.process_time() - begun_at) / CALLS)
    return best * 1e6


def _take_often(uri: str) -> float:
    """Microseconds of this process for a trip, waiting on others not included."""
    from flask_concurrency import Rate
    from flask_concurrency.policies.policy import policy_for
    from flask_concurrency.stores.opening import open_store
    from flask_concurrency.stores.store import Check

    store = open_store(uri)
    check = [Check("route", policy_for(Rate("1000000/day")), "one client", 1)]
    store.take(check)
    begun_at = time.process_time()
    for _ in range(TAKES):
        store.take(check)
    spent = time.process_time() - begun_at
    store.close()
    return spent / TAKES * 1e6


async def _news(streams: int) -> float:
    """Open so many streams, and tell all of them something, a few times."""
    app: Any = served.ours()
    heard = 0
    told = asyncio.Event()

    async def receive() -> Any:
        await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        nonlocal heard
        heard += served.EVENT in message.get("body", b"")
        if heard >= streams:
            told.set()

    async def no_more(message: Any) -> None:
        pass

    tasks = [asyncio.create_task(app(scope_of("/events"), receive, send)) for _ in range(streams)]
    await told.wait()
    best = float("inf")
    for _ in range(3):
        await asyncio.sleep(0.1)  # until all listen again
        heard = 0
        told.clear()
        begun_at = time.process_time()
        await app(scope_of("/publish"), receive, no_more)
        await told.wait()
        best = min(best, time.process_time() - begun_at)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return best / streams * 1e6


TRIALS = (Trial("growth", "how cost grows with limits, routes, keys, processes, streams", measure),)
