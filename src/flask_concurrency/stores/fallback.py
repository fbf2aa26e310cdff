"""Decide what happens while a store is out: count here, admit, or refuse. No error comes through.

Knows which store took what; knows neither what it counts nor when the store is back.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.stores.outage import Health, Outage
from flask_concurrency.stores.spare import AdmittingStore, RefusingStore
from flask_concurrency.stores.store import Check, Store
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.decision import Outcome
from flask_concurrency.vocabulary.errors import StoreError, StoreUnavailable

OnFailure = Literal["local", "admit", "refuse"]
ON_FAILURE: tuple[str, ...] = get_args(OnFailure)

MEANWHILE: dict[OnFailure, str] = {
    "local": "Until it is back, each process counts for itself.",
    "admit": "Until it is back, everybody is admitted.",
    "refuse": "Until it is back, everybody who is limited is refused.",
}

Owed = tuple[list[Check], float, float]
"""Checks to give back, seconds after their take, and the instant that was."""


class FallbackStore:
    """A store in front, and another that stands in for it.

    :param store: The store that should count.
    :param probe: Raises ``StoreError`` while the store is out.
    :param on_failure: ``"local"`` counts in this process meanwhile, ``"admit"`` and ``"refuse"``
        count nothing.
    :param clock: Tells when units were spent.
    :param outage: Makes the circuit; see :class:`~flask_concurrency.stores.outage.Outage`.
    """

    def __init__(
        self,
        store: Store,
        probe: Callable[[], None],
        *,
        on_failure: OnFailure = "local",
        clock: Clock = monotonic,
        outage: Callable[..., Outage] = Outage,
    ) -> None:
        self.store = store
        self.poll_interval = store.poll_interval
        self._on_failure = on_failure
        self._spare = _spare(on_failure)
        self._clock = clock
        self._outage = outage(
            probe, recovered=self._settle_debts, meanwhile=MEANWHILE[on_failure], clock=clock
        )
        # Reentrant: the garbage collector may end an abandoned request wherever it likes.
        self._lock = threading.RLock()
        self._with_spare: Counter[tuple[str, str, int]] = Counter()
        self._owed: list[Owed] = []
        _STORES.add(self)

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Ask the store, or what stands in for it.

        :raises StoreUnavailable: The store is out, and nothing is to stand in for it.
        """
        if not self._outage.open:
            try:
                return self.store.take(checks)
            except StoreUnavailable as error:
                self._outage.begin(error)
            except StoreError as error:
                self._outage.note(error)
        else:
            self._outage.ensure_probing()
        return self._stand_in(checks)

    def give_back(self, checks: Sequence[Check], *, after: float = 0.0) -> None:
        """Return units to the store they were taken from; never raises ``StoreError``.

        What the store is owed while it is out, it gets when it is back.
        """
        spent_at = self._clock() - after
        spare: list[Check] = []
        owed: list[Check] = []
        for check in checks:
            (spare if self._spent_with_spare(check, spent_at) else owed).append(check)
        if spare:
            self._spare.give_back(spare, after=after)
        if owed:
            with self._lock:
                if self._outage.open:
                    self._owed.append((owed, after, self._clock()))
                    return
            self._pay(owed, after)

    def forget(self, checks: Sequence[Check]) -> int:
        """Start counts anew, in both stores.

        :raises StoreError: The store cannot be written; whoever asks for this must know.
        """
        self._spare.forget(checks)
        return self.store.forget(checks)

    def clear(self) -> int:
        """Start all rates anew, in both stores.

        :raises StoreError: The store cannot be written; whoever asks for this must know.
        """
        self._spare.clear()
        return self.store.clear()

    def snapshot(self) -> Health:
        """How the store has been doing, seen from this process."""
        return self._outage.health()

    def close(self) -> None:
        """Close both, and probe no more."""
        self._outage.close()
        self._spare.close()
        self.store.close()

    def _stand_in(self, checks: Sequence[Check]) -> list[Outcome]:
        with self._lock:
            self._outage.stood_in += 1
        outcomes = self._spare.take(checks)
        with self._lock:
            if all(o.admitted or c.shadow for c, o in zip(checks, outcomes, strict=True)):
                for check, outcome in zip(checks, outcomes, strict=True):
                    if outcome.admitted and isinstance(check.policy, InFlightCount):
                        self._with_spare[_permit(check)] += 1
        return outcomes

    def _spent_with_spare(self, check: Check, spent_at: float) -> bool:
        if not isinstance(check.policy, InFlightCount):
            return self._outage.covers(spent_at)
        # Permits of one key are alike, so whichever is returned first, all are returned in the
        # end. The spare's go first: once the store is back, its count is the one that matters, and
        # it is right again only when it alone knows of everybody who is inside.
        with self._lock:
            permit = _permit(check)
            held = self._with_spare.pop(permit, 0)
            if held > 1:
                self._with_spare[permit] = held - 1
            return held > 0

    def _pay(self, checks: list[Check], after: float) -> None:
        try:
            self.store.give_back(checks, after=after)
        except StoreUnavailable as error:  # permits come back when their leases end
            self._outage.begin(error)
        except StoreError as error:
            self._outage.note(error)

    def _settle_debts(self) -> None:
        with self._lock:
            debts, self._owed = self._owed, []
        for debt in debts:
            checks, after, at = debt
            if self._outage.open:  # out again already
                with self._lock:
                    self._owed.append(debt)
            else:
                self._pay(checks, after + self._clock() - at)

    def _start_anew(self) -> None:
        """What is owed and held is the parent's affair."""
        self._lock = threading.RLock()
        self._spare = _spare(self._on_failure)
        self._with_spare.clear()
        self._owed.clear()


def _permit(check: Check) -> tuple[str, str, int]:
    return check.limiter_id, check.key, check.cost


def _spare(on_failure: OnFailure) -> Store:
    if on_failure == "admit":
        return AdmittingStore()
    return RefusingStore() if on_failure == "refuse" else MemoryStore()


_STORES: weakref.WeakSet[FallbackStore] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for store in list(_STORES):
        store._start_anew()


os.register_at_fork(after_in_child=_after_fork_in_child)
