"""Fair shares: who takes more than others is known, within bounded memory."""

from __future__ import annotations

from flask_concurrency.policies.fair_share import COHORTS, ROTATES, SLACK, FairShare


def test_a_client_alone_takes_what_it_likes() -> None:
    """Where there are no others there is nothing to share."""
    shares = FairShare()
    for number in range(1_000):
        assert not shares.exceeds(1, number / 100)
        shares.give(1, number / 100)


def test_a_greedy_client_among_others_is_known() -> None:
    """It takes ten times what each of the twenty others takes; none of those is called greedy."""
    shares = FairShare()
    greedy = others = 0
    for number in range(3_000):
        now = number / 100
        key = 0 if number % 3 else 1 + number % 20
        if now >= 5:
            if key:
                others += shares.exceeds(key, now)
            else:
                greedy += shares.exceeds(key, now)
        shares.give(key, now)
    assert greedy > 1_500
    assert others == 0


def test_a_few_at_once_are_not_greed() -> None:
    """A page with some pictures is asked for at once."""
    shares = FairShare()
    shares.give(1, 0.0)
    for _ in range(int(SLACK)):
        assert not shares.exceeds(2, 0.0)
        shares.give(2, 0.0)


def test_what_was_taken_is_forgiven() -> None:
    """Nothing is held against a client for long."""
    shares = FairShare()
    for number in range(100):
        shares.give(number % 10, 1.0)
    for _ in range(100):
        shares.give(77, 1.0)
    assert shares.exceeds(77, 1.0)
    assert not shares.exceeds(77, 20.0)


def test_cohorts_change() -> None:
    """Two clients that share a cohort do not share the next one."""
    shares = FairShare()
    shares.give(0, 1.0)
    together = [key for key in range(1, 40_000) if shares._cohort(key) == shares._cohort(0)]
    assert 5 <= len(together) <= 60
    shares.give(0, 1.0 + ROTATES)
    assert sum(shares._cohort(key) == shares._cohort(0) for key in together) <= 2


def test_processes_have_other_cohorts() -> None:
    """With other salts other clients share a cohort."""
    one, other = FairShare(salt=1), FairShare(salt=2)
    together = [key for key in range(1, 40_000) if one._cohort(key) == one._cohort(0)]
    assert sum(other._cohort(key) == other._cohort(0) for key in together) <= 2


def test_counts_stay_finite() -> None:
    """After a day under load the numbers are as they were after a minute."""
    shares = FairShare()
    for hour in range(24 * 60):
        shares.give(hour, hour * 60.0)
    for number in range(2_000):
        shares.give(number % COHORTS, 90_000.0 + number / 70)
    assert all(0 <= each < 1e12 for each in shares._given)
