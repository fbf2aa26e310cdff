"""Measure what an attack of a million clients, each seen once, does to memory and to the worst.

Trips to the store, without any request, but for the last row: what the whole request of one more
client takes once the store is full. Times are of the processor, spent by the thread that asks, so
that a busy machine does not count. What was imported before is kept out of garbage collections,
which would take 30 ms for it once in a while, whichever library counts.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from heapq import nlargest
from itertools import count

from benchmarks.benchmark import Trial
from benchmarks.scratch import host_store
from benchmarks.tables.rates import flask_limiter, ours
from benchmarks.wsgi_call import requests_to

CLIENTS = 1_000_000
REQUESTS = 120_000
FEW = 2_000
LIMIT = "5/day"
PEER = "fixed-window"

Seen = list[str]


def addresses() -> Iterator[str]:
    """As many networks as you like, each another subscriber."""
    for number in count():
        yield f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::"


def our_trips(uri: str, clients: int) -> Seen:
    """One check a trip, each of a new key."""
    from flask_concurrency import Rate
    from flask_concurrency.policies.policy import policy_for
    from flask_concurrency.stores.opening import open_store
    from flask_concurrency.stores.store import Check

    with ExitStack() as stack:
        store = open_store(stack.enter_context(host_store()) if uri == "host://" else uri)
        policy = policy_for(Rate(LIMIT))
        return _attack(lambda key: store.take([Check("route", policy, key, 1)]), clients)


def their_trips(clients: int) -> Seen:
    """The same with the storage Flask-Limiter uses."""
    from limits import parse
    from limits.storage import MemoryStorage
    from limits.strategies import STRATEGIES

    limiter = STRATEGIES[PEER](MemoryStorage())
    limit = parse(LIMIT)
    return _attack(lambda key: limiter.hit(limit, key), clients)


def our_requests(clients: int) -> Seen:
    """Whole requests to an app with one limit."""
    return _attack(_visits(requests_to(ours(LIMIT), clients=clients)), clients)


def their_requests(clients: int) -> Seen:
    """The same behind Flask-Limiter."""
    return _attack(_visits(requests_to(flask_limiter(LIMIT), clients=clients)), clients)


def measure(quick: bool) -> list[list[str]]:
    """Each subject in a process of its own."""
    clients, requests = (FEW, FEW) if quick else (CLIENTS, REQUESTS)
    rows = [["", "clients", "MB", "µs a client", "10th worst ms", "worst ms", "threads"]]
    subjects: list[tuple[str, Callable[..., Seen], tuple[object, ...]]] = [
        ("ours, memory", our_trips, ("memory://", clients)),
        ("ours, host", our_trips, ("host://", clients)),
        (f"limits, {PEER}", their_trips, (clients,)),
        ("ours, memory, whole requests", our_requests, (requests,)),
        ("Flask-Limiter, memory, whole requests", their_requests, (requests,)),
    ]
    for name, run, arguments in subjects:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as apart:
            rows.append([name, *apart.submit(run, *arguments).result()])
    return rows


def _visits(call: Callable[[], object]) -> Callable[[str], object]:
    return lambda key: call()  # it takes the addresses of its own clients


def _attack(ask: Callable[[str], object], clients: int) -> Seen:
    keys = addresses()
    ask(next(keys))
    gc.freeze()
    threads, before = threading.active_count(), _peak()
    spent = array("q", bytes(8 * clients))  # no list, which each garbage collection would walk
    now = time.thread_time_ns
    for number in range(clients):
        key = next(keys)
        begun_at = now()
        ask(key)
        spent[number] = now() - begun_at
    grown = _peak() - before - len(spent) * spent.itemsize / 1e6
    worst = nlargest(10, spent)
    return [
        f"{clients:,}",
        f"{grown:,.0f}",
        f"{sum(spent) / clients / 1e3:.1f}",
        f"{worst[-1] / 1e6:.2f}",
        f"{worst[0] / 1e6:.2f}",
        f"+{threading.active_count() - threads}",
    ]


def _peak() -> float:
    """MB of memory that this process has used at most."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


TRIALS = (
    Trial("memory", "what a million clients that come once do to memory and to the worst", measure),
)
