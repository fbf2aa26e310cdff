"""Choose the arithmetic that belongs to a limit. Knows no clock, no key, no store."""

from __future__ import annotations

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.moving_window import MovingWindow
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.vocabulary.limits import InFlight, Limit

Policy = SlidingWindow | FixedWindow | MovingWindow | TokenBucket | InFlightCount

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
    return _WINDOWS[limit.algorithm](limit.quota, limit.period)
