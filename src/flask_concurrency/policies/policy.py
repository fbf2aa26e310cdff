"""Choose the arithmetic that belongs to a limit. Knows no clock, no key, no store."""

from __future__ import annotations

from typing import Any, Protocol

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.moving_window import MovingWindow
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


_WINDOWS: dict[str, type[SlidingWindow | FixedWindow | MovingWindow]] = {
    "sliding-window": SlidingWindow,
    "fixed-window": FixedWindow,
    "moving-window": MovingWindow,
}


def policy_for(limit: Limit) -> Policy:
    """The policy that decides for ``limit``."""
    if isinstance(limit, InFlight):
        return InFlightCount(limit.quota)
    if limit.algorithm == "token-bucket":
        return TokenBucket(limit.quota, limit.period, limit.burst)
    if limit.algorithm == "sliding-window" and limit.quota == 1:
        # An estimate would let the one unit of "1/day" return after two days. A window that begins
        # with it is exact.
        return FixedWindow(1, limit.period)
    return _WINDOWS[limit.algorithm](limit.quota, limit.period)
