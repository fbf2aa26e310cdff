"""A gate asks all limiters at once: all or nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flask_concurrency import ConfigurationError, InFlight, Rate
from flask_concurrency.admission.gate import Gate
from flask_concurrency.admission.limiter import MAX_KEY, Limiter, normalized_key
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.limits import Limit
from flask_concurrency.vocabulary.permit import Ending


def limiter(limit: Limit, key: Callable[[], object] = lambda: "k", **options: object) -> Limiter:
    options.setdefault("per_client", isinstance(limit, Rate))
    return Limiter(name=limit.text, id=limit.text, limit=limit, key=key, **options)  # type: ignore[arg-type]


def gate(*limiters: Limiter) -> Gate:
    return Gate(limiters, MemoryStore(clock=ManualClock()))


def test_a_refused_request_spends_nothing_anywhere() -> None:
    """The day's limit does not pay for what the minute's limit refuses."""
    both = gate(limiter(Rate("100/day")), limiter(Rate("2/minute")))
    for _ in range(5):
        decision = both.try_acquire().decision
    assert not decision.admitted
    day, minute = decision.verdicts
    assert (day.admitted, day.remaining) == (True, 98)
    assert (minute.admitted, minute.remaining) == (False, 0)
    assert decision.refusing == (minute,)
    assert decision.quota_exceeded


def test_a_refused_rate_holds_no_permit() -> None:
    """An in-flight limit beside a rate that refuses stays as free as it was."""
    both = gate(limiter(InFlight(3)), limiter(Rate("1/minute")))
    permit = both.try_acquire().permit
    assert permit is not None
    for _ in range(5):
        answer = both.try_acquire()
        assert answer.permit is None
        assert answer.decision.verdicts[0].remaining == 2
    permit.release()


def test_a_permit_gives_its_place_back() -> None:
    """What was taken is free again after the release, and not before."""
    busy = gate(limiter(InFlight(1)))
    permit = busy.try_acquire().permit
    assert permit is not None
    refused = busy.try_acquire().decision
    assert not refused.admitted
    assert not refused.quota_exceeded
    assert refused.retry_after is None
    permit.release(Ending.ABANDONED)
    again = busy.try_acquire()
    assert again.decision.admitted
    assert again.permit is not None
    again.permit.release()


def test_a_permit_says_how_long_it_was_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store whose file was replaced meanwhile knows by it that the permit was another file's."""
    clock, store = ManualClock(), MemoryStore(clock=ManualClock())
    held: list[float] = []
    monkeypatch.setattr(store, "give_back", lambda checks, after=0.0: held.append(after))
    permit = Gate([limiter(InFlight(1))], store, clock=clock).try_acquire().permit
    assert permit is not None
    clock.advance(7.5)
    permit.release()
    assert held == [7.5]


def test_the_longest_wait_counts() -> None:
    """Coming back earlier would only meet the other limit."""
    both = gate(limiter(Rate("1/minute")), limiter(Rate("1/hour")))
    both.try_acquire()
    decision = both.try_acquire().decision
    assert decision.retry_after == max(v.retry_after or 0 for v in decision.verdicts)
    assert decision.retry_after == pytest.approx(3_600)


def test_a_key_is_asked_once_a_request() -> None:
    """Three limits by the same key cost one look."""
    asked: list[None] = []

    def key() -> str:
        asked.append(None)
        return "k"

    gate(*(limiter(Rate(f"{n}/minute"), key) for n in (5, 6, 7))).try_acquire()
    assert len(asked) == 1


def test_who_is_exempt_is_not_asked() -> None:
    """An exempt limiter neither refuses nor appears in the decision."""
    some = gate(limiter(Rate("0/minute"), exempt_when=lambda: True), limiter(Rate("5/minute")))
    decision = some.try_acquire().decision
    assert [verdict.name for verdict in decision.verdicts] == ["5/minute"]


def test_a_cost_may_depend_on_the_request() -> None:
    """A callable is asked each time; what it gives counts 1 at least, as a client may choose it."""
    costs = iter([3, 0, -2])
    priced = gate(limiter(Rate("5/minute"), cost=lambda: next(costs)))
    left = [priced.try_acquire().decision.verdicts[0].remaining for _ in range(3)]
    assert left == [2, 1, 0]


@pytest.mark.parametrize("cost", [1.5, "2", None, True])
def test_a_cost_that_cannot_be_counted_is_refused(cost: object) -> None:
    """The message names the limit and the value; the other limits are asked all the same."""
    answer = gate(limiter(Rate("5/minute"), cost=lambda: cost), limiter(Rate("1/hour"))).acquire()
    assert [verdict.name for verdict in answer.decision.verdicts] == ["1/hour"]
    with pytest.raises(ConfigurationError, match=r"5/minute.*cannot be spent"):
        raise answer.error or AssertionError


@pytest.mark.parametrize("nothing", [None, ""])
def test_nobody_is_counted_too(nothing: object) -> None:
    """An empty key never means "no limit": all without a key share one count."""
    one = gate(limiter(Rate("1/minute"), lambda: nothing))
    assert one.try_acquire().decision.admitted
    assert not one.try_acquire().decision.admitted


def test_keys_of_any_size_and_kind_are_counted_apart() -> None:
    """Long keys are counted by digest; numbers and broken Unicode are text like any other."""
    keys: list[object] = ["x" * 1_000_000, "x" * 999_999, 7, 8, "\ud800", "\ud800" * 300, "a\x00b"]
    counted = [normalized_key(key) for key in keys]
    assert len(set(counted)) == len(keys)
    assert all(len(key) <= MAX_KEY for key in counted)
    assert normalized_key("x" * MAX_KEY) == "x" * MAX_KEY


def test_a_shadow_counts_and_reports_but_admits() -> None:
    """Its refusal keeps no request out, and is reported apart from one that does."""
    tried = gate(limiter(Rate("1/minute"), shadow=True), limiter(Rate("3/minute")))
    decisions = [tried.try_acquire().decision for _ in range(4)]
    assert [decision.admitted for decision in decisions] == [True, True, True, False]
    shadow, real = decisions[1].verdicts
    assert (shadow.admitted, shadow.shadow) == (False, True)
    assert real.admitted
    assert [verdict.name for verdict in decisions[3].refusing] == ["3/minute"]


def test_a_refusing_shadow_holds_no_permit() -> None:
    """A request it refused holds no permit and releases none: the count stays right."""
    tried = gate(limiter(InFlight(1), shadow=True))
    first, second = tried.try_acquire(), tried.try_acquire()
    assert second.permit is None
    assert first.permit is not None
    first.permit.release()
    third = tried.try_acquire()
    assert third.permit is not None
    third.permit.release()


def test_what_is_not_charged_comes_back() -> None:
    """Units are reserved on arrival and settled with the response, once."""
    store = MemoryStore(clock=ManualClock())
    failures = limiter(Rate("2/minute"), charge_when=lambda status: status == 401)
    login = Gate([failures], store, clock=ManualClock())
    for _ in range(5):
        answer = login.try_acquire()
        assert answer.decision.admitted
        assert answer.unsettled
        answer.settle(200)
        answer.settle(200)
    for _ in range(2):
        login.try_acquire().settle(401)
    assert not login.try_acquire().decision.admitted


def test_reserved_units_cannot_be_spent_twice() -> None:
    """Of three at the same time two are admitted, whatever their responses will be."""
    login = gate(limiter(Rate("2/minute"), charge_when=lambda status: False))
    answers = [login.try_acquire() for _ in range(3)]
    assert [answer.decision.admitted for answer in answers] == [True, True, False]
    assert not answers[2].unsettled
