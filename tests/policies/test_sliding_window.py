"""The default keeps its word in both directions: held against a log of everything admitted."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_concurrency.policies.policy import policy_for
from flask_concurrency.policies.sliding_window import MOST_RUNS, RUNS, SlidingWindow
from flask_concurrency.vocabulary.decision import Outcome
from flask_concurrency.vocabulary.errors import ConfigurationError
from flask_concurrency.vocabulary.limits import Rate

PERIOD = 64.0
TICK = 1 / 1024
"""Seconds that are whole in binary, so that the oracle and the policy add them up alike."""

visits = st.lists(
    st.tuples(
        # Ticks to wait: any, so few that runs might be joined, or to where the oldest unit leaves.
        st.one_of(st.integers(0, 90_000), st.integers(0, 2_500), st.integers(62_000, 66_000)),
        st.integers(0, 7),
    ),
    max_size=60,
)
crowds = st.lists(st.tuples(st.integers(0, 4_000), st.integers(1, 30)), max_size=150)
large = st.sampled_from([RUNS + 1, 50, 100, 1_000])


class Client:
    """One key under one policy, and the log of all it was admitted."""

    def __init__(self, quota: int, period: float = PERIOD, start: float = 0.0) -> None:
        self.policy = SlidingWindow(quota, period)
        self.state: tuple[float, ...] | None = None
        self.now = start
        self.log: list[tuple[float, int]] = []

    def ask(self, cost: int = 1) -> Outcome:
        self.state, outcome = self.policy.take(self.state, self.now, cost)
        if outcome.admitted and cost:
            self.log.append((self.now, cost))
        return outcome

    def inside(self, period: float) -> int:
        """Units admitted in the trailing period."""
        return sum(units for at, units in self.log if at + period > self.now)


@pytest.mark.slow
@given(quota=st.integers(0, RUNS), visits=visits)
def test_a_small_quota_is_exact(quota: int, visits: list[tuple[int, int]]) -> None:
    """What fits into the trailing period is admitted, and nothing else; left is what is left."""
    client = Client(quota)
    for ticks, cost in visits:
        client.now += ticks * TICK
        inside = client.inside(PERIOD)
        outcome = client.ask(cost)
        assert outcome.admitted == (inside + cost <= quota)
        assert outcome.remaining == quota - inside - (cost if outcome.admitted else 0)


@pytest.mark.slow
@given(quota=large, visits=crowds)
def test_a_large_quota_is_never_exceeded(quota: int, visits: list[tuple[int, int]]) -> None:
    """No window of a period holds more than the quota, wherever it ends."""
    client = Client(quota)
    for ticks, cost in visits:
        client.now += ticks * TICK
        client.ask(cost)
        assert client.inside(PERIOD) <= quota


@pytest.mark.slow
@given(quota=large, visits=crowds)
def test_a_large_quota_refuses_none_who_stay_below_it(
    quota: int, visits: list[tuple[int, int]]
) -> None:
    """What fits into the quota of 33/32 of a period is admitted."""
    client = Client(quota)
    for ticks, cost in visits:
        client.now += ticks * TICK
        if client.inside(PERIOD * (RUNS + 1) / RUNS) + cost <= quota:
            assert client.ask(cost).admitted


@pytest.mark.slow
@given(quota=st.one_of(st.integers(1, RUNS), large), visits=crowds)
def test_runs_are_bounded(quota: int, visits: list[tuple[int, int]]) -> None:
    """However a key is asked, what is remembered of it fits the cell of a file."""
    client = Client(quota)
    for ticks, cost in visits:
        client.now += ticks * TICK
        client.ask(cost)
        assert client.state is None or len(client.state) <= 2 + 2 * MOST_RUNS


def test_runs_are_bounded_where_the_limit_was_changed() -> None:
    """A state of another quota or period, too, makes no more runs; it may count longer."""
    old, new = SlidingWindow(RUNS, 1_000.0), SlidingWindow(1_000, 320.0)
    state, now = None, 0.0
    for _ in range(RUNS):
        state, _ = old.take(state, now, 1)
        now += 9.0
    for _ in range(100):
        state, outcome = new.take(state, now, 1)
        assert outcome.admitted
        assert len(state) <= 2 + 2 * MOST_RUNS
        now += 10.01


@pytest.mark.parametrize("quota", [1, 2, 3, 5, 10, RUNS, RUNS + 1, 100, 1_000])
@pytest.mark.parametrize("start", [0.0, 1234.567, 1e9])
def test_a_client_that_obeys_retry_after_gets_the_quota(quota: int, start: float) -> None:
    """Asking again exactly when told, for 30 periods; quotas to 32 exactly, else 31/32 of it."""
    client = Client(quota, 60.0, start)
    refusals = 0
    while client.now < start + 30 * 60.0:
        outcome = client.ask()
        if not outcome.admitted:
            assert outcome.retry_after is not None
            assert 0.0 < outcome.retry_after <= 60.0
            client.now += outcome.retry_after
            refusals += 1
            assert refusals < 2_000
    promised = quota if quota <= RUNS else quota * (RUNS - 1) / RUNS
    assert sum(units for _, units in client.log) >= 30 * promised


@pytest.mark.parametrize("quota", [2, 5, RUNS, 100, 1_000])
def test_waits_never_exceed_the_period(quota: int) -> None:
    """Neither until the same request would be admitted, nor until another unit is back."""
    random = Random(quota)
    client = Client(quota, 60.0, 987.654)
    for _ in range(4_000):
        outcome = client.ask(random.choice((0, 1, 1, 2)))
        assert outcome.reset_after is not None
        assert 0.0 <= outcome.reset_after <= 60.0
        assert outcome.retry_after is not None
        assert 0.0 <= outcome.retry_after <= 60.0
        client.now += random.choice((0.0, 1e-9, random.expovariate(quota / 45.0)))


def test_a_burst_comes_back_all_at_once() -> None:
    """ "5/minute": five at once, the next five after a minute, as many as were promised."""
    client = Client(5, 60.0, 100.0)
    assert [client.ask().admitted for _ in range(6)] == [True] * 5 + [False]
    client.now = 159.999
    assert client.ask().retry_after == pytest.approx(0.001, abs=2e-6)
    client.now = 160.0
    assert [client.ask().admitted for _ in range(6)] == [True] * 5 + [False]


@pytest.mark.slow
@given(
    quota=st.integers(1, RUNS),
    visits=st.lists(
        st.tuples(st.integers(0, 9_000), st.integers(1, 4), st.booleans()), max_size=60
    ),
)
def test_what_is_given_back_is_as_if_it_had_never_been_spent(
    quota: int, visits: list[tuple[int, int, bool]]
) -> None:
    """Whatever came between: the same is left as in a log without it."""
    client = Client(quota)
    taken: list[tuple[float, int]] = []
    for ticks, cost, returns in visits:
        client.now += (ticks + 1) * TICK
        if client.ask(cost).admitted:
            taken.append((client.now, cost))
        if returns and taken:
            at, units = taken.pop(0)
            assert client.state is not None
            client.state = client.policy.give_back(client.state, client.now, units, client.now - at)
            client.log.remove((at, units))
        left = client.policy.take(client.state, client.now, 0)[1].remaining
        assert left == quota - client.inside(PERIOD)


@pytest.mark.slow
@given(
    quota=large,
    visits=st.lists(
        st.tuples(st.integers(0, 4_000), st.integers(1, 9), st.booleans()), max_size=90
    ),
)
def test_refunds_let_no_more_in_than_the_quota(
    quota: int, visits: list[tuple[int, int, bool]]
) -> None:
    """Where units share a run, what stays charged is at least what was not given back."""
    client = Client(quota)
    taken: list[tuple[float, int]] = []
    for ticks, cost, returns in visits:
        client.now += ticks * TICK
        if client.ask(cost).admitted:
            taken.append((client.now, cost))
        if returns and taken:
            at, units = taken.pop()
            assert client.state is not None
            client.state = client.policy.give_back(client.state, client.now, units, client.now - at)
            client.log.remove((at, units))
        assert client.inside(PERIOD) <= quota


def test_units_do_not_join_a_run_before_one_that_was_given_back() -> None:
    """A run is as long as its grain: its first unit is not known any more, so it takes no more."""
    client = Client(64, 64.0)
    client.ask()
    client.now = 2.5  # later than a 32nd of the period: a run of its own
    client.ask()
    assert client.state is not None
    client.state = client.policy.give_back(client.state, 2.5, 1, 0.0)
    client.now = 3.0
    client.ask()
    assert client.state[2] == 0.0
    assert client.state[-2] == 3.0


def test_a_refund_after_the_count_was_forgotten_takes_no_other_unit() -> None:
    """The unit that is there now was spent by another request."""
    client = Client(5)
    client.ask()
    client.state, client.now = None, 30.0
    client.ask()
    assert client.state is not None
    assert client.policy.give_back(client.state, 30.0, 1, 30.0) == client.state


def test_a_lower_quota_leaves_nothing_and_says_when() -> None:
    """Units spent under a larger quota are never reported as fewer than none."""
    state, _ = SlidingWindow(10, 60.0).take(None, 0.0, 8)
    assert SlidingWindow(3, 60.0).take(state, 1.0, 1)[1] == Outcome(False, 0, 59.0, 59.0)


def test_moving_window_is_another_name_of_the_default() -> None:
    """Users who migrate write the name they know; any quota is possible."""
    rate = Rate("5000/day", algorithm="moving-window")
    assert rate == Rate("5000/day")
    assert policy_for(rate) == SlidingWindow(5_000, 86_400.0)


@pytest.mark.parametrize("spent", [0, 2])
def test_a_negative_cost_is_refused(spent: int) -> None:
    """It would hand out units that were never there."""
    policy = SlidingWindow(5, 60.0)
    state, _ = policy.take(None, 0.0, spent)
    with pytest.raises(ConfigurationError, match="-1 units"):
        policy.take(state, 0.0, -1)


@pytest.mark.parametrize(("quota", "cost"), [(10, 10), (10, 3), (100, 50), (1_000, 7)])
def test_costly_requests_get_the_quota_too(quota: int, cost: int) -> None:
    """As many requests a period as fit into the quota, or 31/32 of them, for 30 periods."""
    client = Client(quota, 60.0)
    while client.now < 30 * 60.0:
        outcome = client.ask(cost)
        if not outcome.admitted:
            assert outcome.retry_after is not None
            assert outcome.retry_after <= 60.0
            client.now += outcome.retry_after
    promised = quota // cost * (1 if quota <= RUNS else (RUNS - 1) / RUNS)
    assert len(client.log) >= 30 * promised
