"""Ask all limiters of a route at once: all let the request in, or none is charged.

Knows limiters and a store; knows no Flask and no HTTP. ``waiting_room.py`` decides who waits next.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from math import inf

from flask_concurrency.admission.answer import Answer, PendingCharge, PendingCharges
from flask_concurrency.admission.limiter import (
    MAX_CHOSEN,
    MAX_KEY,
    DynamicLimiter,
    Limiter,
    normalized_key,
)
from flask_concurrency.admission.waiting_room import Waiter, WaitingRooms
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.runtime.deadline import expires_at
from flask_concurrency.stores.store import Check, CheckTemplates, Store, take_for
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.decision import Decision, Label, Labels, Outcome
from flask_concurrency.vocabulary.errors import DeadlineExceeded
from flask_concurrency.vocabulary.limits import InFlight, Limit, Rate
from flask_concurrency.vocabulary.permit import Ending, Permit

Asked = Sequence[Limiter]
"""Limiters of one request, in the order of its checks."""

ELSEWHERE = 0.02
"""Seconds after which a request asks again that waits for one limit and is held up by another."""

SHORTEST = 0.001
"""Seconds that a request waits for a rate at least, before it asks again."""

CLOSED = InFlightCount(0)
"""Admits no request: asked instead of a limit whose waiters come first."""


class Gate:
    """Limiters in the order they are reported, over one store.

    :param limiters: What applies; their names and ids are unique.
    :param store: Where they count.
    :param rooms: Where requests wait for in-flight limits that let them.
    :param exempt: Keys that are not counted for a while; ``None`` where there are never any.
    :param clock: Measures how long something took.
    """

    __slots__ = (
        "_clock",
        "_exempt",
        "_fixed",
        "_key",
        "_labels",
        "_lets_wait",
        "_other_labels",
        "_rooms",
        "_store",
        "_take_for",
        "_takes_back",
        "_templates",
        "limiters",
    )

    def __init__(
        self,
        limiters: Sequence[Limiter | DynamicLimiter],
        store: Store,
        *,
        rooms: WaitingRooms | None = None,
        exempt: Container[str] | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self.limiters = tuple(limiters)
        self._store = store
        self._rooms = WaitingRooms() if rooms is None else rooms
        self._clock = clock
        self._exempt = exempt
        # What does not change between requests is found out once.
        fixed = tuple(limiter for limiter in limiters if isinstance(limiter, Limiter))
        chosen = len(fixed) < len(limiters)
        self._fixed = None if chosen else fixed
        self._labels = _labels(fixed)
        self._other_labels: dict[tuple[Limiter, ...], Labels] = {}
        self._lets_wait = chosen or any(map(_waits, fixed))
        self._takes_back = chosen or any(map(_is_given_back, fixed))
        plain = not chosen and not self._lets_wait and not self._takes_back
        self._key: Callable[[], object] | None = None
        self._templates = CheckTemplates(())
        if plain and (alike := _asked_alike(fixed)) is not None:
            self._key, self._templates = alike
        self._take_for = take_for(store)

    def repeats(self, decision: Decision, key: Callable[[], object]) -> bool:
        """Whether a refusal stays the same for every request of the same ``key`` until its time."""
        refusing = {verdict.name for verdict in decision.refusing}
        return self._fixed is not None and all(
            limiter.repeats and limiter.key is key
            for limiter in self._fixed
            if limiter.name in refusing
        )

    def try_acquire(self) -> Answer:
        """Decide now, in one trip to the store.

        :returns: The decision, with what has to be given back when the request ends.
        """
        asked, checks, error = self._questions()
        answer = self._answer(asked, checks)
        answer.error = error
        return answer

    def acquire(self) -> Answer:
        """Decide now, or after having waited where the limits in the way let a request wait.

        :returns: The decision, with what has to be given back when the request ends.
        :raises DeadlineExceeded: The request's deadline fell before its turn, and before the limit
            would have made it give up.
        """
        if self._key is not None:
            # What most gates ask: the same of every client, and nothing is given back.
            who = self._key()
            key = who if type(who) is str and len(who) <= MAX_KEY else normalized_key(who)
            if self._exempt is not None and key in self._exempt:
                return Answer(True, _NOTHING_ASKED, ())
            outcomes = self._take_for(key, self._templates)
            for outcome in outcomes:
                if not outcome[0]:
                    return _refused_or_shadowed(self._labels, outcomes, [key] * len(outcomes))
            return Answer(True, self._labels, outcomes)
        asked, checks, error = self._questions()
        answer = self._acquire(asked, checks) if self._lets_wait else self._answer(asked, checks)
        answer.error = error
        return answer

    def _acquire(self, asked: Asked, checks: list[Check]) -> Answer:
        for limiter, check in zip(asked, checks, strict=True):
            if _is_paced(limiter) and not limiter.shadow and self._rooms.occupied(_room(check)):
                # To try to acquire now would overtake the requests that wait.
                return self._wait(asked, checks, None, limiter.limit, check)
        answer = self._answer(asked, self._behind_the_queues(asked, checks))
        in_the_way = _waited_for(answer, asked, checks)
        return self._wait(asked, checks, answer, *in_the_way[0]) if in_the_way else answer

    def _behind_the_queues(self, asked: Asked, checks: list[Check]) -> list[Check]:
        """The checks of a new request: requests that already wait come first."""
        return [
            check._replace(policy=CLOSED)
            if _queues(limiter) and self._rooms.occupied(_room(check))
            else check
            for limiter, check in zip(asked, checks, strict=True)
        ]

    def _wait(
        self,
        asked: Asked,
        checks: list[Check],
        answer: Answer | None,
        limit: Limit,
        check: Check,
    ) -> Answer:
        began_at = self._clock()
        answer = self._in_room(asked, checks, answer, limit, check)
        seconds = self._clock() - began_at
        for limiter, found in zip(asked, checks, strict=True):
            if found is check:
                answer.waited = limiter.name, seconds
        return answer

    def _in_room(
        self,
        asked: Asked,
        checks: list[Check],
        answer: Answer | None,
        limit: Limit,
        check: Check,
    ) -> Answer:
        give_up_at = self._clock() + limit.max_wait
        if isinstance(limit, Rate):
            waiter = self._rooms.enter(_room(check), "fifo", most=limit.quota)
            if waiter is None:
                return answer or self._answer(asked, checks)
            try:
                return self._wait_for_turn(waiter, give_up_at, asked, checks, answer, limit, check)
            finally:
                self._rooms.leave(waiter)
        # A slot in the queue is counted like a permit, so the queue is as bounded, as shared and
        # as safe from dying processes as the limit itself.
        in_queue = queue_check(check, limit.max_queue)
        if not self._store.take([in_queue])[0].admitted:
            return answer or self._answer(asked, checks)
        taken_at = self._clock()
        try:
            waiter = self._rooms.enter(_room(check), limit.order)
            if waiter is None:
                return answer or self._answer(asked, checks)
            try:
                return self._wait_for_turn(waiter, give_up_at, asked, checks, answer, limit, check)
            finally:
                self._rooms.leave(waiter)
        finally:
            self._store.give_back([in_queue], after=self._clock() - taken_at)

    def _wait_for_turn(
        self,
        waiter: Waiter,
        give_up_at: float,
        asked: Asked,
        checks: list[Check],
        answer: Answer | None,
        limit: Limit,
        check: Check,
    ) -> Answer:
        while True:
            poll = inf
            if self._rooms.is_next(waiter):
                # Before the first wait, too: a permit may have been released meanwhile.
                answer = self._answer(asked, checks)
                in_the_way = _waited_for(answer, asked, checks)
                if not in_the_way:
                    return answer
                if answer.decision.retry_after is not None:
                    poll = max(answer.decision.retry_after, SHORTEST)
                    if self._clock() + poll > give_up_at:  # it would wait in vain
                        return answer
                poll = min(poll, self._unheard(check, in_the_way))
            left = min(give_up_at, _deadline()) - self._clock()
            if left <= 0:
                break
            waiter.wait(min(left, poll))
        if self._clock() < give_up_at:  # a refusal would reach no client any more
            waited = "its turn" if isinstance(limit, Rate) else "a permit"
            raise DeadlineExceeded(
                f"The deadline passed while the request waited for {waited}: {limit.text}."
            )
        return answer or self._answer(asked, checks)

    def _unheard(self, check: Check, in_the_way: list[tuple[Limit, Check]]) -> float:
        """Seconds after which to ask again, because a permit may be released without a wake-up.

        Other processes wake no waiter of this one, and a release wakes only its own limit's room.
        """
        if all(isinstance(limit, Rate) for limit, _ in in_the_way):
            return inf  # time alone lets it in
        if self._store.poll_interval is not None:
            return self._store.poll_interval
        return inf if any(found is check for _, found in in_the_way) else ELSEWHERE

    def _questions(self) -> tuple[Asked, list[Check], Exception | None]:
        """The limiters to ask, what the store is asked for each, and what a function raised.

        A limiter whose function raises is not asked, but all others are: an error that a client
        can cause must not free its requests from them.
        """
        asked: list[Limiter] = []
        checks: list[Check] = []
        keys: dict[Callable[[], object], str] = {}
        error: Exception | None = None
        named: dict[str, Limiter] = {}
        for found in self.limiters:
            try:
                for limiter in [found] if isinstance(found, Limiter) else found.current(named):
                    if limiter.exempt_when is not None and limiter.exempts:
                        continue
                    key = keys.get(limiter.key)
                    if key is None:
                        key = keys[limiter.key] = normalized_key(limiter.key())
                    if self._exempt is not None and key in self._exempt:
                        continue
                    cost = limiter.cost
                    if not isinstance(cost, int):
                        cost = limiter.current_cost()
                    checks.append(Check(limiter.id, limiter.policy, key, cost, limiter.shadow))
                    asked.append(limiter)
            except Exception as raised:
                error = error or raised
        return asked, checks, error

    def _answer(self, asked: Asked, checks: list[Check]) -> Answer:
        outcomes = self._store.take(checks)
        labels = self._labels_of(asked)
        for outcome in outcomes:
            if not outcome.admitted:
                keys = [check.key for check in checks]
                answer = _refused_or_shadowed(labels, outcomes, keys)
                break
        else:
            answer = Answer(True, labels, outcomes)
        if answer.admitted and self._takes_back:
            self._hold(answer, asked, checks)
        return answer

    def _labels_of(self, asked: Asked) -> Labels:
        if self._fixed is not None and len(asked) == len(self._fixed):
            return self._labels
        chosen = tuple(asked)
        labels = self._other_labels.get(chosen)
        if labels is None:
            if len(self._other_labels) >= MAX_CHOSEN:
                self._other_labels.clear()
            labels = self._other_labels[chosen] = _labels(chosen)
        return labels

    def _hold(self, answer: Answer, asked: Asked, checks: list[Check]) -> None:
        """Let an answer hold what was taken and has to be given back, or may have to."""
        taken_at = self._clock()
        held: list[Check] = []
        waited_for = False
        reservations: list[PendingCharge] = []
        for limiter, check, outcome in zip(asked, checks, answer.outcomes, strict=True):
            if not outcome.admitted:  # a shadow's refusal: it took nothing
                continue
            if isinstance(limiter.limit, InFlight):
                held.append(check)
                waited_for = waited_for or limiter.limit.max_queue > 0
            elif limiter.charge_when is not None or limiter.final_cost is not None:
                reservations.append(PendingCharge(limiter.charge_when, limiter.final_cost, check))

        holds_thread = waited_for and self._rooms.admit()

        def give_back(ending: Ending) -> None:
            if holds_thread:
                self._rooms.end()
            self._store.give_back(held, after=self._clock() - taken_at)
            for check in held:
                self._rooms.wake(_room(check))

        answer.holding(
            Permit(give_back) if held else None,
            PendingCharges(reservations, self._store, self._clock) if reservations else None,
        )


def _refused_or_shadowed(labels: Labels, outcomes: list[Outcome], keys: list[str]) -> Answer:
    """The answer where at least one limit does not admit.

    :param keys: Whom each of them counted.
    """
    asked = zip(labels.each, outcomes, keys, strict=True)
    refusing = [(label, key) for label, o, key in asked if not (o.admitted or label.shadow)]
    answer = Answer(not refusing, labels, outcomes)
    answer.shadowed = not refusing
    answer.refused_key = next((key for label, key in refusing if label.per_client), None)
    return answer


def _labels(limiters: Asked) -> Labels:
    return Labels(
        tuple(
            Label(each.name, each.limit.quota, each.period, each.shadow, each.per_client)
            for each in limiters
        )
    )


_NOTHING_ASKED = Labels(())


def _asked_alike(
    limiters: Asked,
) -> tuple[Callable[[], object], CheckTemplates] | None:
    """The one key and the checks of limiters that ask the same of every request, as most do."""
    keys = {limiter.key for limiter in limiters}
    if len(keys) != 1 or any(each.exempt_when or callable(each.cost) for each in limiters):
        return None
    return keys.pop(), CheckTemplates(
        tuple(
            (limiter.id, limiter.policy, limiter.current_cost(), limiter.shadow)
            for limiter in limiters
        )
    )


def _room(check: Check) -> tuple[str, str]:
    return check.limiter_id, check.key


def queue_check(check: Check, max_queue: int) -> Check:
    """What is asked of the store for a slot in the queue of an in-flight limit."""
    return Check(f"{check.limiter_id}\x1fwaiting", InFlightCount(max_queue), check.key, 1)


def _deadline() -> float:
    """The request's deadline; read again each time, because it may be brought closer."""
    at = expires_at()
    return inf if at is None else at


def _waits(limiter: Limiter) -> bool:
    return limiter.limit.max_wait > 0


def _queues(limiter: Limiter) -> bool:
    return isinstance(limiter.limit, InFlight) and limiter.limit.max_queue > 0


def _is_paced(limiter: Limiter) -> bool:
    """Whether it is a rate that lets requests wait instead of refusing them."""
    return isinstance(limiter.limit, Rate) and limiter.limit.max_wait > 0


def _is_given_back(limiter: Limiter) -> bool:
    return (
        isinstance(limiter.limit, InFlight)
        or limiter.charge_when is not None
        or limiter.final_cost is not None
    )


def _waited_for(answer: Answer, asked: Asked, checks: list[Check]) -> list[tuple[Limit, Check]]:
    """The limits in the way; none if it is admitted, or to wait is not allowed or of no use."""
    found = []
    for limiter, check, outcome in zip(asked, checks, answer.outcomes, strict=True):
        if not outcome.admitted and not limiter.shadow:
            limit = limiter.limit
            most = limit.quota if isinstance(limit, InFlight) else limit.burst
            if not limit.max_wait or check.cost > most:
                return []
            found.append((limit, check))
    return found
