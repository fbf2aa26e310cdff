"""Measure one trip to a store, without any request: ours beside the storage Flask-Limiter uses.

One key of :data:`KEYS` a trip, all limits admitting.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject
from benchmarks.scratch import host_store
from benchmarks.wsgi_call import WrongAnswer

RATES = ("1000000/minute", "10000000/hour", "100000000/day")
KEYS = 200


@contextmanager
def ours(checks: int, uri: str = "memory://") -> Iterator[Call]:
    """``Store.take`` of this many sliding windows."""
    from flask_concurrency import Rate
    from flask_concurrency.policies.policy import policy_for
    from flask_concurrency.stores.opening import open_store
    from flask_concurrency.stores.store import Check

    policies = [(rate, policy_for(Rate(rate))) for rate in RATES[:checks]]
    stage = cycle(
        [
            [Check(name, policy, f"198.51.100.{key}", 1) for name, policy in policies]
            for key in range(KEYS)
        ]
    )
    store = open_store(uri)

    def take() -> None:
        if not all(outcome.admitted for outcome in store.take(next(stage))):
            raise WrongAnswer("a limit refused")

    yield take
    store.close()


@contextmanager
def ours_on_the_host(checks: int) -> Iterator[Call]:
    """The same in a file that all processes of the host share."""
    with host_store() as uri, ours(checks, uri) as take:
        yield take


@contextmanager
def limits_library(checks: int, strategy: str) -> Iterator[Call]:
    """As many ``hit`` calls of the ``limits`` library, one after the other."""
    from limits import parse
    from limits.storage import MemoryStorage
    from limits.strategies import STRATEGIES

    limiter = STRATEGIES[strategy](MemoryStorage())
    items = [parse(rate) for rate in RATES[:checks]]
    keys = cycle([f"198.51.100.{key}" for key in range(KEYS)])

    def hit() -> None:
        key = next(keys)
        if not all(limiter.hit(item, key) for item in items):
            raise WrongAnswer("a limit refused")

    yield hit


def _benchmark(checks: int) -> Benchmark:
    limits = "1 limit" if checks == 1 else f"{checks} limits"
    return Benchmark(
        name=f"store-{checks}",
        title=f"one trip to the store with {limits}, without any request",
        subjects=(
            Subject("ours, memory", partial(ours, checks)),
            Subject("ours, host", partial(ours_on_the_host, checks)),
            *(
                Subject(f"limits, {strategy}", partial(limits_library, checks, strategy))
                for strategy in ("fixed-window", "sliding-window-counter", "moving-window")
            ),
        ),
        comparisons=(
            Comparison("beside a fixed window", "ours, memory", "limits, fixed-window"),
            Comparison("beside a sliding window", "ours, memory", "limits, sliding-window-counter"),
            Comparison("host store beside memory", "ours, host", "ours, memory"),
        ),
    )


BENCHMARKS = (_benchmark(1), _benchmark(3))
