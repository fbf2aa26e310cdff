"""The count of requests inside."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_concurrency.policies.in_flight import InFlightCount


@given(quota=st.integers(0, 8), visits=st.lists(st.integers(-4, 4), max_size=80))
def test_never_more_inside_than_allowed(quota: int, visits: list[int]) -> None:
    """Costs enter if they fit, and leave again; the count is always the sum of those inside."""
    policy, state, inside = InFlightCount(quota), 0, list[int]()
    for visit in visits:
        if visit < 0 and inside:
            state = policy.give_back(state, 0.0, inside.pop(), 1.0)
        else:
            state, outcome = policy.take(state, 0.0, abs(visit))
            if outcome.admitted:
                inside.append(abs(visit))
            assert outcome.admitted == (sum(inside) + abs(visit) * (not outcome.admitted) <= quota)
            assert outcome.remaining == quota - sum(inside)
        assert state == sum(inside) <= quota
        assert policy.forgettable(state, 0.0) == (state == 0)


def test_nobody_knows_when_a_place_is_free() -> None:
    """A refusal promises no time."""
    _, outcome = InFlightCount(1).take(1, 0.0, 1)
    assert outcome == (False, 0, None, None)
