"""Answer without counting, in place of a store that is out. Knows neither the store nor why."""

from __future__ import annotations

from collections.abc import Sequence

from flask_concurrency.stores.store import Check
from flask_concurrency.vocabulary.decision import Outcome
from flask_concurrency.vocabulary.errors import StoreUnavailable


class AdmittingStore:
    """Lets everybody in who could be let in at all."""

    poll_interval: float | None = None

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Admit whatever a store that remembers nobody would; spend nothing."""
        return [check.policy.take(None, 0.0, check.cost)[1] for check in checks]

    def give_back(self, checks: Sequence[Check], *, after: float = 0.0) -> None:
        """Nothing was taken."""

    def forget(self, checks: Sequence[Check]) -> int:
        """Nothing was counted."""
        return 0

    def clear(self) -> int:
        """Nothing was counted."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


class RefusingStore:
    """Lets nobody in whom a limit concerns."""

    poll_interval: float | None = None

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Refuse to decide, but for shadows, which hold nobody up.

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

    def clear(self) -> int:
        """Nothing was counted."""
        return 0

    def close(self) -> None:
        """Nothing is open."""
