"""Choose the arithmetic that belongs to a limit. Knows no clock, no key, no store."""

from __future__ import annotations

from typing import Any, Protocol

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.vocabulary.decision import Outcome
from flask_concurrency.vocabulary.limits import InFlight, Limit


class Policy(Protocol):
    """What every policy can do; each keeps a state of its own kind, which a store only carries."""

    @property
    def quota(self) -> int:
        """Units allowed."""
        ...

    def take(self, state: Any, now: float, cost: int) -> tuple[Any, Outcome]:
        """Spend ``cost`` units if they fit; a refusal spends nothing."""
        ...

    def give_back(self, state: Any, now: float, cost: int, after: float) -> Any:
        """Return ``cost`` units that were spent ``after`` seconds ago."""
        ...

    def forgettable(self, state: Any, now: float) -> bool:
        """Whether the state decides like a key never seen."""
        ...


def policy_for(limit: Limit) -> Policy:
    """The policy that decides for ``limit``."""
    if isinstance(limit, InFlight):
        return InFlightCount(limit.quota)
    if limit.algorithm == "token-bucket":
        return TokenBucket(limit.quota, limit.period, limit.burst)
    if limit.algorithm == "fixed-window":
        return FixedWindow(limit.quota, limit.period)
    return SlidingWindow(limit.quota, limit.period)
