"""Choose the arithmetic that belongs to a limit. Knows no clock, no key, no store."""

from __future__ import annotations

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.vocabulary.limits import InFlight, Limit

WindowPolicy = SlidingWindow | FixedWindow
Policy = WindowPolicy | InFlightCount

_BY_ALGORITHM: dict[str, type[WindowPolicy]] = {
    "sliding-window": SlidingWindow,
    "fixed-window": FixedWindow,
}


def policy_for(limit: Limit) -> Policy:
    """The policy that decides for ``limit``."""
    if isinstance(limit, InFlight):
        return InFlightCount(limit.quota)
    return _BY_ALGORITHM[limit.algorithm](limit.quota, limit.period)
