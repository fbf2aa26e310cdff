"""Decide what happens while a store is out: count here, admit, or refuse. No error comes through.

Knows which store took what; knows neither what it counts nor when the store is back.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.stores.circuit_breaker import CircuitBreaker, Health
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.stores.stand_ins import AdmittingStore, RefusingStore
from flask_concurrency.stores.store import (
    Check,
    CheckTemplates,
    LimiterCounts,
    Store,
    take_for,
)
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.decision import Outcome
from flask_concurrency.vocabulary.errors import StoreError, StoreUnavailable

OnFailure = Literal["local", "admit", "refuse"]
ON_FAILURE: tuple[str, ...] = get_args(OnFailure)

MEANWHILE: dict[OnFailure, str] = {
    "local": "Until it is back, each process counts for itself.",
    "admit": "Until it is back, all requests are admitted.",
    "refuse": "Until it is back, all requests that a limit concerns are refused.",
}

PendingReturn = tuple[list[Check], float, float]
"""Checks to give back once the store is back, seconds since their take, and when it was asked."""


class FallbackStore:
    """A store in front, and another that stands in for it.

    :param store: The store that should count.
    :param probe: Raises ``StoreError`` while the store is out.
    :param on_failure: ``"local"`` counts in this process meanwhile, ``"admit"`` and ``"refuse"``
        count nothing.
    :param clock: Dates the units that are spent.
    :param breaker: Makes the circuit breaker:
        :class:`~flask_concurrency.stores.circuit_breaker.CircuitBreaker`.
    :ivar on_outage: Told why the store is out, each time it goes out.
    """

    def __init__(
        self,
        store: Store,
        probe: Callable[[], None],
        *,
        on_failure: OnFailure = "local",
        clock: Clock = monotonic,
        breaker: Callable[..., CircuitBreaker] = CircuitBreaker,
    ) -> None:
        self.store = store
        self.on_outage: Callable[[StoreError], object] = lambda error: None
        self.poll_interval = store.poll_interval
        self._take_for = take_for(store)
        self._on_failure = on_failure
        self._stand_in = _stand_in_for(on_failure)
        self._clock = clock
        self._breaker = breaker(
            probe, recovered=self._return_pending, meanwhile=MEANWHILE[on_failure], clock=clock
        )
        # Reentrant: the garbage collector may finalise an abandoned request at any bytecode.
        self._lock = threading.RLock()
        self._held_in_stand_in: Counter[tuple[str, str, int]] = Counter()
        self._pending_returns: list[PendingReturn] = []
        call_in_child(self, FallbackStore._reset_after_fork)

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Ask the store, or what stands in for it.

        :raises StoreUnavailable: The store is out, and nothing is to stand in for it.
        """
        if not self._breaker.open:
            try:
                return self.store.take(checks)
            except StoreUnavailable as error:
                self._trip(error)
            except StoreError as error:
                self._breaker.note(error)
        else:
            self._breaker.ensure_probing()
        return self._take_from_stand_in(checks)

    def take_for(self, key: str, templates: CheckTemplates) -> list[Outcome]:
        """Ask the store, or what stands in for it, for all checks of one key.

        :raises StoreUnavailable: The store is out, and nothing is to stand in for it.
        """
        if self._breaker.open:
            return self.take(templates.of(key))
        try:
            return self._take_for(key, templates)
        except StoreUnavailable as error:
            self._trip(error)
        except StoreError as error:
            self._breaker.note(error)
        return self._take_from_stand_in(templates.of(key))

    def give_back(self, checks: Sequence[Check], *, after: float = 0.0) -> None:
        """Return units to the store they were taken from; never raises ``StoreError``.

        What belongs to a store that is out is returned when it is back.
        """
        spent_at = self._clock() - after
        stand_in: list[Check] = []
        pending: list[Check] = []
        for check in checks:
            (stand_in if self._belongs_to_stand_in(check, spent_at) else pending).append(check)
        if stand_in:
            self._stand_in.give_back(stand_in, after=after)
        if pending:
            with self._lock:
                if self._breaker.open:
                    self._pending_returns.append((pending, after, self._clock()))
                    return
            self._return(pending, after)

    def forget(self, checks: Sequence[Check]) -> int:
        """Reset counts, in both stores.

        :raises StoreError: The store cannot be written, so its counts are as they were.
        """
        self._stand_in.forget(checks)
        return self.store.forget(checks)

    def clear_limiters(self, limiters: Sequence[LimiterCounts]) -> int:
        """Reset limiters, in both stores.

        :raises StoreError: The store cannot be written, so its counts are as they were.
        """
        self._stand_in.clear_limiters(limiters)
        return self.store.clear_limiters(limiters)

    def clear(self) -> int:
        """Reset all rates, in both stores.

        :raises StoreError: The store cannot be written, so its counts are as they were.
        """
        self._stand_in.clear()
        return self.store.clear()

    def snapshot(self) -> Health:
        """How the store has been doing, seen from this process."""
        return self._breaker.health()

    def close(self) -> None:
        """Close both, and probe no more."""
        self._breaker.close()
        self._stand_in.close()
        self.store.close()

    def _take_from_stand_in(self, checks: Sequence[Check]) -> list[Outcome]:
        with self._lock:
            self._breaker.stood_in += 1
        outcomes = self._stand_in.take(checks)
        with self._lock:
            if all(o.admitted or c.shadow for c, o in zip(checks, outcomes, strict=True)):
                for check, outcome in zip(checks, outcomes, strict=True):
                    if outcome.admitted and isinstance(check.policy, InFlightCount):
                        self._held_in_stand_in[_permit(check)] += 1
        return outcomes

    def _belongs_to_stand_in(self, check: Check, spent_at: float) -> bool:
        if not isinstance(check.policy, InFlightCount):
            return self._breaker.covers(spent_at)
        # Permits of one key are alike, so their order does not matter: all are returned in the end.
        # Those of the stand-in go first: once the store is back, its count is the one that matters,
        # and it is right again only when it alone counts every request that is inside.
        with self._lock:
            permit = _permit(check)
            held = self._held_in_stand_in.pop(permit, 0)
            if held > 1:
                self._held_in_stand_in[permit] = held - 1
            return held > 0

    def _return(self, checks: list[Check], after: float) -> None:
        try:
            self.store.give_back(checks, after=after)
        except StoreUnavailable as error:  # permits come back when their leases end
            self._trip(error)
        except StoreError as error:
            self._breaker.note(error)

    def _trip(self, error: StoreError) -> None:
        if self._breaker.trip(error):
            self.on_outage(error)

    def _return_pending(self) -> None:
        with self._lock:
            pending, self._pending_returns = self._pending_returns, []
        for entry in pending:
            checks, after, at = entry
            if self._breaker.open:  # out again already
                with self._lock:
                    self._pending_returns.append(entry)
            else:
                self._return(checks, after + self._clock() - at)

    def _reset_after_fork(self) -> None:
        """Forget what the parent holds and has to return: the parent returns it."""
        self._lock = threading.RLock()
        self._stand_in = _stand_in_for(self._on_failure)
        self._held_in_stand_in.clear()
        self._pending_returns.clear()


def _permit(check: Check) -> tuple[str, str, int]:
    return check.limiter_id, check.key, check.cost


def _stand_in_for(on_failure: OnFailure) -> Store:
    if on_failure == "admit":
        return AdmittingStore()
    return RefusingStore() if on_failure == "refuse" else MemoryStore()
