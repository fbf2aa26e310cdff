"""Every rate policy against its definition, written out the slow way."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket


def every_policy(quota: int, period: float) -> list[Any]:
    return [
        SlidingWindow(quota, period),
        FixedWindow(quota, period),
        TokenBucket(quota, period, quota),
    ]


FIXED_10_PER_60 = [
    ((0, 4), (True, 6)),
    ((30, 6), (True, 0)),
    ((59, 1), (False, 0)),
    ((60, 10), (True, 0)),  # a new window begins with the request that opens it
    ((119, 1), (False, 0)),
    ((500, 1), (True, 9)),
    ((559, 9), (True, 0)),
]
SLIDING_10_PER_60 = [  # (now, cost) -> (admitted, left)
    ((0, 4), (True, 6)),
    ((30, 6), (True, 0)),
    ((59, 1), (False, 0)),
    ((60, 5), (False, 4)),  # the four of the beginning have left
    ((60, 4), (True, 0)),
    ((90, 6), (True, 0)),
    ((119, 1), (False, 0)),
    ((240, 10), (True, 0)),
]
BUCKET_OF_10_PER_60 = [
    ((0, 10), (True, 0)),
    ((0, 1), (False, 0)),  # a refusal spends nothing
    ((6, 1), (True, 0)),  # six seconds brought one back
    ((30, 5), (False, 4)),
    ((30, 4), (True, 0)),
    ((90, 10), (True, 0)),
]


@pytest.mark.parametrize(
    ("policy", "table"),
    [
        (SlidingWindow(10, 60.0), SLIDING_10_PER_60),
        (FixedWindow(10, 60.0), FIXED_10_PER_60),
        (TokenBucket(10, 60.0, 10), BUCKET_OF_10_PER_60),
    ],
    ids=["sliding", "fixed", "bucket"],
)
def test_the_table_holds(policy: Any, table: list[Any]) -> None:
    """Each row follows from those before it."""
    state = None
    for (now, cost), expected in table:
        state, outcome = policy.take(state, float(now), cost)
        assert (outcome.admitted, outcome.remaining) == expected, (now, cost)


@pytest.mark.parametrize("policy", every_policy(5, 60.0))
def test_a_cost_above_the_quota_never_fits(policy: Any) -> None:
    """It is refused without a time to come back, and charges nothing."""
    state, outcome = policy.take(None, 0.0, 6)
    assert (outcome.admitted, outcome.remaining, outcome.retry_after) == (False, 5, None)
    assert policy.take(state, 0.0, 5)[1].admitted


@pytest.mark.parametrize("policy", every_policy(0, 60.0))
def test_a_quota_of_zero_is_closed(policy: Any) -> None:
    """``0`` admits no request, ever, and says so."""
    assert policy.take(None, 0.0, 1)[1][:3] == (False, 0, None)


@pytest.mark.parametrize("policy", every_policy(5, 60.0))
def test_a_cost_of_zero_only_looks(policy: Any) -> None:
    """Looking is admitted even when nothing is left, and changes nothing."""
    state, _ = policy.take(None, 0.0, 5)
    looked, outcome = policy.take(state, 1.0, 0)
    assert outcome.admitted
    assert outcome.remaining == 0
    assert policy.take(looked, 1.0, 1)[1] == policy.take(state, 1.0, 1)[1]


visits = st.lists(
    st.tuples(st.integers(0, 90_000), st.integers(0, 7)),  # milliseconds to wait, cost
    max_size=60,
)


@pytest.mark.slow
@given(quota=st.integers(0, 12), visits=visits)
def test_the_fixed_window_never_holds_more_than_its_quota(
    quota: int, visits: list[tuple[int, int]]
) -> None:
    """Summing what each window admitted gives at most the quota."""
    policy = FixedWindow(quota, 60.0)
    state, now = None, 0.0
    spent: dict[float, int] = {}
    for wait, cost in visits:
        now += wait / 1_000
        state, outcome = policy.take(state, now, cost)
        if outcome.admitted and cost:
            started_at, used = state
            spent[started_at] = spent.get(started_at, 0) + cost
            assert spent[started_at] == used == quota - outcome.remaining
    assert all(units <= quota for units in spent.values())
    starts = sorted(spent)
    assert all(later - earlier >= 60 for earlier, later in pairwise(starts))


@pytest.mark.slow
@given(quota=st.integers(1, 12), burst=st.integers(0, 20), visits=visits)
def test_the_bucket_never_lends_more_than_burst_and_rate(
    quota: int, burst: int, visits: list[tuple[int, int]]
) -> None:
    """Between any two admitted requests at most ``burst`` and what flowed back was spent."""
    policy, state, now = TokenBucket(quota, 64.0, burst), None, Fraction(0)
    admitted: list[tuple[Fraction, int]] = []
    for wait, cost in visits:
        now += Fraction(wait, 1024)
        state, outcome = policy.take(state, float(now), cost)
        if outcome.admitted:
            admitted.append((now, cost))
        spent = 0
        for at, units in reversed(admitted):
            spent += units
            assert spent <= burst + (now - at) * quota / 64 + Fraction(1, 10**9)


@pytest.mark.slow
@given(
    policy=st.builds(
        every_policy,
        st.integers(0, 1_000),
        st.sampled_from([1.0, 7.0, 60.0, 86_400.0, 31_536_000.0]),
    ).flatmap(st.sampled_from),
    start=st.floats(0, 1e9),
    visits=st.lists(st.tuples(st.floats(0, 2), st.integers(0, 400)), max_size=30),
    cost=st.integers(1, 400),
)
def test_retry_after_is_exact(
    policy: Any, start: float, visits: list[tuple[float, int]], cost: int
) -> None:
    """A request at that very instant is admitted, one clearly before it is not."""
    state, now = None, start
    for periods, spent in visits:
        now += periods * policy.period
        state, _ = policy.take(state, now, spent)
    _, outcome = policy.take(state, now, cost)
    if outcome.retry_after is None:
        assert cost > policy.quota
        return
    assert policy.take(state, now + outcome.retry_after, cost)[1].admitted
    early = outcome.retry_after - 3e-6 - 1e-9 * policy.period
    if early > 0:
        assert not policy.take(state, now + early, cost)[1].admitted


@pytest.mark.slow
@given(
    policy=st.sampled_from(every_policy(20, 60.0)),
    visits=visits,
    cost=st.integers(0, 30),
)
def test_a_refusal_spends_nothing(policy: Any, visits: list[tuple[int, int]], cost: int) -> None:
    """After a refusal the policy answers every question as if it had not been asked."""
    state, now = None, 0.0
    for wait, spent in visits:
        now += wait / 1_000
        state, _ = policy.take(state, now, spent)
    after, outcome = policy.take(state, now, cost)
    if not outcome.admitted:
        assert policy.take(after, now, 0) == policy.take(state, now, 0)


@pytest.mark.slow
@given(
    policy=st.sampled_from(every_policy(20, 60.0)),
    visits=visits,
    later=st.floats(0, 300),
)
def test_what_is_forgettable_decides_like_a_new_key(
    policy: Any, visits: list[tuple[int, int]], later: float
) -> None:
    """A store that forgets such a state changes no decision."""
    state, now = None, 0.0
    for wait, spent in visits:
        now += wait / 1_000
        state, _ = policy.take(state, now, spent)
    now += later
    if state is not None and policy.forgettable(state, now):
        assert policy.take(state, now, 1)[1] == policy.take(None, now, 1)[1]


@pytest.mark.slow
@given(
    quota=st.integers(1, 12),
    visits=visits,
    cost=st.integers(1, 7),
    wait=st.floats(0, 150),
    more=visits,
)
@pytest.mark.parametrize("kind", range(3))
def test_what_is_given_back_admits_no_more_than_if_it_had_never_come(
    kind: int,
    quota: int,
    visits: list[tuple[int, int]],
    cost: int,
    wait: float,
    more: list[tuple[int, int]],
) -> None:
    """Units return to where they were spent, so a later request gains at most those units."""
    policy = every_policy(quota, 60.0)[kind]
    state, now = None, 0.0
    for pause, spent in visits:
        now += pause / 1_000
        state, _ = policy.take(state, now, spent)
    without = state
    state, outcome = policy.take(state, now, cost)
    if not outcome.admitted:
        return
    now += wait
    back = policy.give_back(state, now, cost, wait)
    assert policy.take(back, now, 0)[1].remaining >= policy.take(state, now, 0)[1].remaining
    if without is not None:
        left = policy.take(without, now, 0)[1].remaining
        assert policy.take(back, now, 0)[1].remaining <= left


@pytest.mark.parametrize("policy", every_policy(5, 60.0))
def test_what_is_given_back_at_once_is_as_if_never_spent(policy: Any) -> None:
    """A request that is not charged leaves the others their whole quota."""
    state, _ = policy.take(None, 0.0, 2)
    state, _ = policy.take(state, 10.0, 3)
    state = policy.give_back(state, 10.0, 3, 0.0)
    assert policy.take(state, 10.0, 0)[1].remaining == 3
    assert policy.take(state, 10.0, 3)[1].admitted
