"""Answer without counting, in place of a store that is out. Knows neither the store nor why."""

from __future__ import annotations

from collections.abc import Sequence

from flask_concurrency.stores.store import Check, LimiterCounts
from flask_concurrency.vocabulary.decision import Outcome
from flask_concurrency.vocabulary.errors import StoreUnavailable


class AdmittingStore:
    """Admits each check that its policy could admit at all."""

    poll_interval: float | None = None

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Admit what a store without any counts would admit; spend nothing."""
        return [check.policy.take(None, 0.0, check.cost)[1] for check in checks]

    def give_back(self, checks: Sequence[Check], *, after: float = 0.0) -> None:
        """Nothing was taken."""

    def forget(self, checks: Sequence[Check]) -> int:
        """Nothing was counted."""
        return 0

    def clear_limiters(self, limiters: Sequence[LimiterCounts]) -> int:
        """Nothing was counted."""
        return 0

    def clear(self) -> int:
        """Nothing was counted."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


class RefusingStore:
    """Refuses all requests that a limit concerns."""

    poll_interval: float | None = None

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Refuse to decide, except on shadows, which are only reported.

        :raises StoreUnavailable: There is a check that is no shadow.
        """
        if not all(check.shadow for check in checks):
            raise StoreUnavailable("The store is out, and ON_STORE_FAILURE is 'refuse'.")
        return [Outcome(False, 0, None, None) for _ in checks]

    def give_back(self, checks: Sequence[Check], *, after: float = 0.0) -> None:
        """Nothing was taken."""

    def forget(self, checks: Sequence[Check]) -> int:
        """Nothing was counted."""
        return 0

    def clear_limiters(self, limiters: Sequence[LimiterCounts]) -> int:
        """Nothing was counted."""
        return 0

    def clear(self) -> int:
        """Nothing was counted."""
        return 0

    def close(self) -> None:
        """Nothing is open."""
