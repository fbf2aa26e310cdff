"""Hold a store to its contract. Knows the contract; knows no store and no test runner.

For stores of one's own, and for all of ours:

.. code-block:: python

    @pytest.mark.parametrize("case", CASES.values(), ids=CASES)
    def test_my_store_keeps_the_contract(case):
        case(lambda clock: MyStore(clock=clock))

Each case opens stores that hold no counts yet, and raises ``AssertionError`` if they break a law.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.policy import Policy
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.stores.store import Check, CheckTemplates, Store, take_for
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.testing.store_scenarios import SCENARIOS, Scenario
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.decision import Outcome
from flask_concurrency.vocabulary.errors import ConfigurationError

OpenStore = Callable[[Clock], Store]
"""Opens a store without any counts, whose time is the clock's."""

Case = Callable[[OpenStore], None]

SECONDS_OFF = 2e-6
"""By how much a wait may differ from the one on paper: stores round up to whole microseconds."""

RATES: tuple[Policy, ...] = (
    SlidingWindow(5, 60.0),
    FixedWindow(5, 60.0),
    TokenBucket(5, 60.0, 5),
)

ODD_KEYS = ("", " ", "\0", "\ud800", "a/b", "{tag}", "a\x1fb", "ключ", "🗝", "k" * 1_000_000)
"""Keys that a client may well send."""


def follow(scenario: Scenario, open_store: OpenStore) -> None:
    """Each answer for a key is that of the table, instant by instant."""
    start = 1_000.0
    clock = ManualClock(start)
    store = open_store(clock)
    try:
        for number, ((now, cost), expected) in enumerate(scenario.steps):
            clock.advance(start + now - clock.now)
            (outcome,) = store.take([Check("scenario", scenario.policy, "key", cost)])
            answer = (outcome.admitted, outcome.remaining, outcome.retry_after)
            as_written = answer[:2] == expected[:2] and _close(answer[2], expected[2])
            assert as_written, (
                f"step {number}: at {now} s, {cost} units: got {answer}, expected {expected}"
            )
    finally:
        store.close()


def a_refusal_spends_nothing(open_store: OpenStore) -> None:
    """However often a client is refused, what is left stays, and so does the wait."""
    for policy in RATES:
        store = open_store(ManualClock())
        _take(store, Check("r", policy, "k", 4))
        refusals = [_take(store, Check("r", policy, "k", 2)) for _ in range(5)]
        assert len(set(refusals)) == 1, f"{policy}: {refusals}"
        assert not refusals[0].admitted
        assert _take(store, Check("r", policy, "k", 1)).admitted, policy
        store.close()


def all_or_nothing(open_store: OpenStore) -> None:
    """If one check refuses, the others report what is left and have spent nothing."""
    store = open_store(ManualClock())
    open_wide = [Check(f"r{n}", policy, "k", 1) for n, policy in enumerate(RATES)]
    inside = Check("f", InFlightCount(2), "k", 1)
    closed = Check("closed", InFlightCount(0), "k", 1)
    for _ in range(20):
        outcomes = store.take([*open_wide, inside, closed])
        assert [outcome.admitted for outcome in outcomes] == [True] * 4 + [False]
        assert [outcome.remaining for outcome in outcomes] == [5, 5, 5, 2, 0]
    outcomes = store.take([*open_wide, inside])
    assert [outcome.remaining for outcome in outcomes] == [4, 4, 4, 1], outcomes
    store.close()


def a_shadow_only_reports(open_store: OpenStore) -> None:
    """A shadow that refuses stops no request and spends nothing; the others are spent."""
    store = open_store(ManualClock())
    shadow = Check("s", SlidingWindow(1, 60.0), "k", 1, shadow=True)
    counted = Check("r", SlidingWindow(5, 60.0), "k", 1)
    for left in (4, 3, 2):
        outcomes = store.take([shadow, counted])
        assert outcomes[0].admitted == (left == 4), outcomes
        assert outcomes[1].admitted, outcomes
        assert outcomes[1].remaining == left, outcomes
    store.close()


def one_key_is_asked_like_any(open_store: OpenStore) -> None:
    """What a store offers for the checks of one key does what ``take`` does with these checks."""
    clock = ManualClock()
    store, other = open_store(clock), MemoryStore(clock=clock)
    ask = take_for(store)
    shadow = ("shadow", SlidingWindow(2, 60.0), 1, True)
    templates = CheckTemplates(
        (*((f"r{n}", policy, 2, False) for n, policy in enumerate(RATES)), shadow)
    )
    looks = CheckTemplates(tuple((id, policy, 0, False) for id, policy, *_ in templates.each))
    for pause in (0.0, 1.0, 7.5, 50.0, 3.0, 70.0):
        clock.advance(pause)
        for asked in (templates, looks, templates):
            for key in ("one", "another"):
                answers = ask(key, asked), other.take(asked.of(key))
                alike = all(map(_alike, *answers))
                assert alike, f"at {clock.now} s: got {answers[0]}, expected {answers[1]}"
    store.take(templates.of("one"))
    other.take(templates.of("one"))
    assert all(map(_alike, ask("one", looks), other.take(looks.of("one"))))
    store.close()


def a_retry_after_is_exact(open_store: OpenStore) -> None:
    """A request at that very instant is admitted, and one well before it is not."""
    for policy in RATES:
        for too_early in (True, False):
            clock = ManualClock(1_234.567)
            store = open_store(clock)
            check = Check("r", policy, "k", 1)
            for pause in (0.0, 0.1, 1.0, 7.3, 3.1):
                clock.advance(pause)
                _take(store, check)
            wait = _take(store, check).retry_after
            assert wait is not None, policy
            assert wait > 0, policy
            clock.advance(wait - 0.001 if too_early else wait)
            outcome = _take(store, check)
            assert outcome.admitted != too_early, f"{policy}: {wait} s, then {outcome}"
            store.close()


def permits_return(open_store: OpenStore) -> None:
    """What is given back can be taken again, by any client."""
    store = open_store(ManualClock())
    one, two = (Check("f", InFlightCount(3), "k", cost) for cost in (1, 2))
    assert [_take(store, check).admitted for check in (one, two, one)] == [True, True, False]
    store.give_back([two])
    assert [_take(store, one).admitted for _ in range(3)] == [True, True, False]
    store.give_back([one, one, one])
    assert _take(store, one).remaining == 2
    store.close()


def refunds_return(open_store: OpenStore) -> None:
    """Units that are not charged after all are as if they had never been spent."""
    for policy in RATES:
        clock = ManualClock()
        store = open_store(clock)
        check = Check("r", policy, "k", 2)
        assert _take(store, check).remaining == 3
        store.give_back([check], after=0.0)
        assert _take(store, check).remaining == 3, policy
        store.close()


def a_refund_of_something_forgotten_is_nothing(open_store: OpenStore) -> None:
    """Long after, and for a key never seen, nothing happens and nothing is gained."""
    for policy in RATES:
        clock = ManualClock()
        store = open_store(clock)
        store.give_back([Check("r", policy, "never seen", 1)])
        _take(store, Check("r", policy, "k", 1))
        clock.advance(1_000.0)
        store.give_back([Check("r", policy, "k", 1)], after=1_000.0)
        assert _take(store, Check("r", policy, "k", 1)).remaining == 4, policy
        store.close()


def forgetting_starts_anew(open_store: OpenStore) -> None:
    """A forgotten key has all its units again; other keys do not change, permits stay held."""
    store = open_store(ManualClock())
    spent = [Check(repr(policy), policy, "k", 3) for policy in RATES]
    inside = Check("f", InFlightCount(3), "k", 1)
    others = [check._replace(key="other") for check in spent]
    store.take([*spent, *others, inside])
    assert store.forget([*spent, inside]) == len(spent)
    assert store.forget(spent) == 0
    assert store.forget([inside]) == 0
    outcomes = store.take([*spent, inside])
    assert [outcome.remaining for outcome in outcomes] == [2] * len(spent) + [1], outcomes
    assert not any(_take(store, check).admitted for check in others)
    store.close()


def clearing_a_limiter_leaves_the_others(open_store: OpenStore) -> None:
    """Every key of it has all its units again; no other limiter's change, and permits stay held."""
    store = open_store(ManualClock())
    for policy in RATES:
        limiter_id = repr(policy)
        keys = [Check(limiter_id, policy, key, 3) for key in ("one", "other", "")]
        others = [check._replace(limiter_id=f"{limiter_id}2") for check in keys]
        store.take([*keys, *others])
        assert store.clear_limiters([(limiter_id, policy)]) == len(keys), policy
        assert store.clear_limiters([(limiter_id, policy)]) == 0, policy
        assert [outcome.remaining for outcome in store.take(keys)] == [2, 2, 2], policy
        assert not any(_take(store, check).admitted for check in others), policy
    inside = Check("f", InFlightCount(2), "k", 2)
    assert _take(store, inside).admitted
    assert store.clear_limiters([("f", inside.policy)]) == 0
    assert not _take(store, inside).admitted
    store.close()


def a_negative_cost_is_refused(open_store: OpenStore) -> None:
    """It would hand out units that were never there; nothing of the stage is spent."""
    store = open_store(ManualClock())
    for policy in (*RATES, InFlightCount(5)):
        check = Check(repr(policy), policy, "k", 2)
        _take(store, check)
        for _ in range(3):
            spent = False
            with suppress(ConfigurationError):
                store.take([check._replace(cost=1), check._replace(key="other", cost=-1)])
                spent = True
            assert not spent, f"{policy}: -1 units were spent"
        assert _take(store, check._replace(cost=0)).remaining == 3, policy
        assert _take(store, check._replace(key="other", cost=0)).remaining == 5, policy
    store.close()


def clearing_starts_every_key_anew(open_store: OpenStore) -> None:
    """Every key of every rate has all its units again; permits stay held."""
    clock = ManualClock()
    store = open_store(clock)
    assert store.clear() == 0
    keys = ("one", "other", "")
    spent = [Check(repr(policy), policy, key, 3) for policy in RATES for key in keys]
    inside = Check("f", InFlightCount(3), "k", 1)
    store.take([*spent, inside])
    assert store.clear() == len(spent)
    assert store.clear() == 0
    outcomes = store.take([*spent, inside])
    assert [outcome.remaining for outcome in outcomes] == [2] * len(spent) + [1], outcomes
    store.give_back([inside, inside])
    assert _take(store, inside).remaining == 2
    store.close()


def clearing_of_a_store_of_permits_clears_nothing(open_store: OpenStore) -> None:
    """A permit that is held while it is forgotten would let one too many in."""
    store = open_store(ManualClock())
    inside = Check("f", InFlightCount(2), "k", 2)
    assert _take(store, inside).admitted
    assert store.clear() == 0
    assert not _take(store, inside).admitted
    store.close()


def a_look_changes_nothing(open_store: OpenStore) -> None:
    """Asking what is left, of a key seen or unseen, leaves every later answer as it would be."""
    for policy in (*RATES, InFlightCount(5)):
        clock = ManualClock()
        store = open_store(clock)
        looked, left_alone = (Check("r", policy, key, 1) for key in ("looked at", "left alone"))
        for pause in (0.0, 29.5, 13.0, 47.5, 60.0, 170.0):
            assert _take(store, looked._replace(cost=0)).admitted, policy
            clock.advance(pause)
            answers = [_take(store, check) for check in (looked, left_alone)]
            assert answers[0] == answers[1], f"{policy}: {answers}"
            assert _take(store, looked._replace(cost=0)).remaining == answers[0].remaining, policy
        store.close()


def limiters_and_keys_are_apart(open_store: OpenStore) -> None:
    """Two limiters never share a count, nor do two keys, however they are spelled."""
    store = open_store(ManualClock())
    policy = SlidingWindow(5, 60.0)
    spellings = [("a", "b/c"), ("a/b", "c"), ("a\x1fb", "c"), ("a", "\x1fbc"), ("", "abc")]
    for limiter_id, key in spellings:
        assert _take(store, Check(limiter_id, policy, key, 1)).remaining == 4, (limiter_id, key)
    store.close()


def limiters_of_one_id_share(open_store: OpenStore) -> None:
    """Equal policies under one id count together, wherever they were made."""
    store = open_store(ManualClock())
    for left in (4, 3):
        assert _take(store, Check("shared", SlidingWindow(5, 60.0), "k", 1)).remaining == left
    store.close()


def odd_keys_are_counted(open_store: OpenStore) -> None:
    """Whatever text a key is, it has a count of its own."""
    store = open_store(ManualClock())
    for policy in (*RATES, InFlightCount(5)):
        for left in (4, 3):
            for key in ODD_KEYS:
                outcome = _take(store, Check(repr(policy), policy, key, 1))
                assert outcome.remaining == left, (policy, key[:9])
    store.close()


def nothing_asked_is_nothing_answered(open_store: OpenStore) -> None:
    """No checks give no outcomes."""
    store = open_store(ManualClock())
    assert store.take([]) == []
    store.give_back([])
    store.close()


def threads_count_exactly(open_store: OpenStore) -> None:
    """Sixteen threads ask for more than there is: exactly so many get it."""
    store = open_store(ManualClock())
    for policy in (*RATES, InFlightCount(5)):
        barrier = threading.Barrier(16)
        admitted: list[bool] = []

        def ask(
            policy: Policy = policy,
            barrier: threading.Barrier = barrier,
            admitted: list[bool] = admitted,
        ) -> None:
            barrier.wait()
            admitted.append(_take(store, Check(repr(policy), policy, "k", 1)).admitted)

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(admitted) == 5, policy
    store.close()


LAWS: tuple[Case, ...] = (
    a_refusal_spends_nothing,
    all_or_nothing,
    a_shadow_only_reports,
    one_key_is_asked_like_any,
    a_retry_after_is_exact,
    permits_return,
    refunds_return,
    a_refund_of_something_forgotten_is_nothing,
    forgetting_starts_anew,
    clearing_a_limiter_leaves_the_others,
    clearing_starts_every_key_anew,
    clearing_of_a_store_of_permits_clears_nothing,
    a_look_changes_nothing,
    a_negative_cost_is_refused,
    limiters_and_keys_are_apart,
    limiters_of_one_id_share,
    odd_keys_are_counted,
    nothing_asked_is_nothing_answered,
    threads_count_exactly,
)

CASES: Mapping[str, Case] = {
    **{name: partial(follow, scenario) for name, scenario in SCENARIOS.items()},
    **{law.__name__: law for law in LAWS},
}
"""Everything a store must do, by name."""


def _take(store: Store, check: Check) -> Outcome:
    (outcome,) = store.take([check])
    return outcome


def _alike(got: Outcome, expected: Outcome) -> bool:
    """Whether two stores say the same, but for how they round."""
    waits = zip(got[2:], expected[2:], strict=True)
    return got[:2] == expected[:2] and all(_close(*pair) for pair in waits)


def _close(got: float | None, expected: float | None) -> bool:
    if got is None or expected is None:
        return got is expected
    return math.isclose(got, expected, abs_tol=SECONDS_OFF)
