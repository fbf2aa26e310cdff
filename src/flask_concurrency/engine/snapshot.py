"""Look at what limits count at this moment, without spending anything.

Knows limiters and their store; knows no Flask and no terminal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flask_concurrency.admission.gate import queue_check
from flask_concurrency.admission.limiter import ANONYMOUS, Limiter, all_requests, normalized_key
from flask_concurrency.stores.store import Check, Store
from flask_concurrency.vocabulary.limits import InFlight


@dataclass(frozen=True, slots=True)
class LimiterSnapshot:
    """One limit's count for one key.

    :ivar name: What refusals and header fields call the limit.
    :ivar route: The route whose count it is; empty where routes share it.
    :ivar key: Who is counted; empty for all requests together.
    :ivar quota: Units allowed, per ``period`` or at once.
    :ivar period: Seconds of a rate's period; ``None`` for an in-flight limit.
    :ivar used: Units spent, or requests inside.
    :ivar remaining: Units left.
    :ivar waiting: Requests waiting for a permit.
    :ivar max_queue: Requests that may wait; ``0`` where none may.
    :ivar reset_after: Seconds until more is left; ``None`` if it cannot be known.
    """

    name: str
    route: str
    key: str
    quota: int
    period: float | None
    used: int
    remaining: int
    waiting: int
    max_queue: int
    reset_after: float | None


def look(limiters: Iterable[Limiter], store: Store, *, key: str | None) -> list[LimiterSnapshot]:
    """Read the counts of limiters, each for all requests together or for ``key``.

    :param key: Who to look for where clients are counted apart; ``None`` leaves those limits out.
    :raises StoreError: The counts cannot be read.
    """
    found = []
    for limiter in limiters:
        check = _check(limiter, key)
        if check is None:
            continue
        limit = limiter.limit
        max_queue = limit.max_queue if isinstance(limit, InFlight) else 0
        outcome = store.take([check])[0]
        waiting = 0
        if max_queue:
            in_queue = queue_check(check, max_queue)._replace(cost=0)
            waiting = max_queue - store.take([in_queue])[0].remaining
        found.append(
            LimiterSnapshot(
                name=limiter.name,
                route=limiter.route,
                key=check.key,
                quota=limit.quota,
                period=limiter.period,
                used=limiter.units - outcome.remaining,
                remaining=outcome.remaining,
                waiting=waiting,
                max_queue=max_queue,
                reset_after=outcome.reset_after,
            )
        )
    return found


def reset(limiters: Iterable[Limiter], store: Store, *, key: str) -> int:
    """Reset the rates of one key; permits stay held.

    :returns: How many limits counted the key.
    """
    checks = [
        check
        for limiter in limiters
        if limiter.period is not None and (check := _check(limiter, key)) is not None
    ]
    return store.forget(checks)


def _check(limiter: Limiter, key: str | None) -> Check | None:
    """A question that spends nothing."""
    if limiter.key is all_requests:
        return Check(limiter.id, limiter.policy, ANONYMOUS, 0)
    if key is None or (isinstance(limiter.limit, InFlight) and limiter.limit.scope is not None):
        return None
    return Check(limiter.id, limiter.policy, normalized_key(key), 0)
