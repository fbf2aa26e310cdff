"""A wait that a policy returns is long enough, however long it is."""

from __future__ import annotations

from itertools import count

import pytest

from flask_concurrency import Rate
from flask_concurrency.policies.exact_wait import MICROSECOND, exact_wait
from flask_concurrency.policies.policy import policy_for
from flask_concurrency.vocabulary.limits import ALGORITHMS, Algorithm


@pytest.mark.parametrize("now", [0.0, 1e6, 6e10])
@pytest.mark.parametrize("wait", [0.0, 0.1, 60.0, 6e10])
def test_it_ends_where_a_microsecond_is_lost_in_the_rounding(now: float, wait: float) -> None:
    """After a few questions, since a store asks them while all its other callers wait."""
    asked = count(1)

    def admits(at: float) -> bool:
        assert next(asked) < 50
        return at > now + wait

    told = exact_wait(wait, now, admits)
    assert told >= wait
    assert told - wait <= max(2 * MICROSECOND, 1e-15 * (now + wait))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("text", ["1/999 years", "7/500 years", "3/1000 years"])
def test_a_limit_of_centuries_is_decided_like_any_other(text: str, algorithm: Algorithm) -> None:
    """A client that comes back at the instant it was given is admitted."""
    policy = policy_for(Rate(text, algorithm=algorithm))
    state, now = None, 123_456.789
    for _ in range(policy.quota + 1):
        state, outcome = policy.take(state, now, 1)
        now += 0.377
    assert not outcome.admitted
    assert outcome.retry_after is not None
    assert policy.take(state, now - 0.377 + outcome.retry_after, 1)[1].admitted
