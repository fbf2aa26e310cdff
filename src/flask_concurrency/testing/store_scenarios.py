"""Say what every store must answer, instant by instant. Knows policies and numbers, no store.

Written out by hand from the definitions of the policies, so that arithmetic in Python, in a mapped
file and on a server is held against the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.policy import Policy
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket

Step = tuple[tuple[float, int], tuple[bool, int, float | None]]
"""``(now, cost) -> (admitted, left, retry_after)``, in seconds since the first step."""


class Scenario(NamedTuple):
    """What one key is answered, step by step.

    :ivar policy: What decides.
    :ivar steps: Requests and answers, in order.
    """

    policy: Policy
    steps: list[Step]


FIXED_10_PER_MINUTE: list[Step] = [
    ((0, 4), (True, 6, 0.0)),
    ((30, 6), (True, 0, 0.0)),
    ((59, 1), (False, 0, 1.0)),
    ((60, 10), (True, 0, 0.0)),  # a new window begins with the request that opens it
    ((90, 1), (False, 0, 30.0)),
    ((90, 11), (False, 0, None)),
    ((500, 1), (True, 9, 0.0)),
    ((559, 9), (True, 0, 0.0)),
]
SLIDING_10_PER_MINUTE: list[Step] = [
    ((0, 4), (True, 6, 0.0)),
    ((30, 6), (True, 0, 0.0)),
    ((50, 1), (False, 0, 10.0)),
    ((60, 5), (False, 4, 30.0)),  # the four of the beginning have left, five is one too many
    ((60, 4), (True, 0, 0.0)),
    ((90, 6), (True, 0, 0.0)),
    ((100, 1), (False, 0, 20.0)),
    ((100, 11), (False, 0, None)),
    ((240, 10), (True, 0, 0.0)),
]
SLIDING_64_IN_64_SECONDS: list[Step] = [
    ((0, 40), (True, 24, 0.0)),
    ((1, 4), (True, 20, 0.0)),
    ((2, 10), (True, 10, 0.0)),  # within a 32nd of the period: joins the run of second 0
    ((2.5, 9), (True, 1, 0.0)),  # later than that: a run of its own
    ((3, 2), (False, 1, 63.0)),
    ((65, 54), (False, 1, 1.0)),  # the first run leaves as a whole, with its last unit
    ((66, 54), (True, 1, 0.0)),
    ((66.25, 2), (False, 1, 0.25)),
    ((66.5, 2), (True, 8, 0.0)),
    ((200, 65), (False, 64, None)),
    ((200, 64), (True, 0, 0.0)),
]
BUCKET_OF_10_PER_MINUTE: list[Step] = [
    ((0, 10), (True, 0, 0.0)),
    ((0, 1), (False, 0, 6.0)),
    ((6, 1), (True, 0, 0.0)),  # six seconds brought one back
    ((30, 5), (False, 4, 6.0)),
    ((30, 4), (True, 0, 0.0)),
    ((30, 11), (False, 0, None)),
    ((90, 10), (True, 0, 0.0)),
]
THREE_IN_FLIGHT: list[Step] = [
    ((0, 1), (True, 2, 0.0)),
    ((0, 3), (False, 2, None)),  # no wait is known
    ((0, 2), (True, 0, 0.0)),
    ((9_999, 1), (False, 0, None)),  # time alone releases no permit
]
CLOSED: list[Step] = [
    ((0, 1), (False, 0, None)),
    ((0, 0), (True, 0, 0.0)),
]

SCENARIOS: Mapping[str, Scenario] = {
    "sliding window": Scenario(SlidingWindow(10, 60.0), SLIDING_10_PER_MINUTE),
    "fixed window": Scenario(FixedWindow(10, 60.0), FIXED_10_PER_MINUTE),
    "sliding window of many": Scenario(SlidingWindow(64, 64.0), SLIDING_64_IN_64_SECONDS),
    "token bucket": Scenario(TokenBucket(10, 60.0, 10), BUCKET_OF_10_PER_MINUTE),
    "in flight": Scenario(InFlightCount(3), THREE_IN_FLIGHT),
    "closed in flight": Scenario(InFlightCount(0), CLOSED),
}
