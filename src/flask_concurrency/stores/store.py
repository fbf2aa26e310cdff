"""What every store can do: take units for all checks of a stage at once, and give permits back.

The contract, not an implementation. Knows no HTTP, no Flask and no request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from flask_concurrency.policies.policy import Policy
from flask_concurrency.vocabulary.decision import Outcome


class Check(NamedTuple):
    """One question to a store: may ``key`` spend ``cost`` units under this policy?

    :ivar limiter_id: Whose counts these are; the same id shares one count between routes.
    :ivar policy: The arithmetic that decides.
    :ivar key: Who is counted.
    :ivar cost: Units to spend, at least 0.
    """

    limiter_id: str
    policy: Policy
    key: str
    cost: int


class Store(Protocol):
    """Counts shared by everybody who opened the same store; time is the store's own clock."""

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Spend the units of all checks, or of none if any is refused.

        :returns: One outcome a check, in order; all admitted means all were spent.
        :raises StoreError: The counts cannot be read or written.
        """
        ...

    def give_back(self, checks: Sequence[Check]) -> None:
        """Return what in-flight checks took earlier; each is given back exactly once."""
        ...

    def close(self) -> None:
        """Let go of files and connections; the counts stay where they are."""
        ...
