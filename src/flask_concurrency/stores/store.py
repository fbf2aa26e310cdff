"""What every store can do: take units for all checks of a stage at once, and give permits back.

The contract, not an implementation. Knows no HTTP, no Flask and no request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from flask_concurrency.policies.policy import Policy
from flask_concurrency.vocabulary.decision import Outcome


class Check(NamedTuple):
    """One question to a store: may ``key`` spend ``cost`` units under this policy?

    :ivar limiter_id: Whose counts these are; the same id shares one count between routes.
    :ivar policy: The arithmetic that decides.
    :ivar key: Who is counted.
    :ivar cost: Units to spend, at least 0. A check of cost 0 is a look: it changes nothing, not
        even when the window of a key begins.
    :ivar shadow: Whether a refusal is only reported: it stops no request, and spends nothing.
    """

    limiter_id: str
    policy: Policy
    key: str
    cost: int
    shadow: bool = False


CheckTemplate = tuple[str, Policy, int, bool]
"""A limiter's id, policy, cost and shadow: a check without its key."""


@dataclass(frozen=True, slots=True, eq=False)
class CheckTemplates:
    """What a gate asks of every client alike, who is counted by the same key for all of it.

    Equal to itself alone, so that a store finds at once what it made of it.

    :ivar each: The checks without their key.
    """

    each: tuple[CheckTemplate, ...]

    def of(self, key: str) -> list[Check]:
        """The checks of one key."""
        return [Check(id, policy, key, cost, shadow) for id, policy, cost, shadow in self.each]


LimiterCounts = tuple[str, Policy]
"""The id of a limiter and its policy: together they name its counts, whatever the key."""


class Store(Protocol):
    """Counts shared by all that opened the same store; time is the store's own clock.

    A store may have a quicker way for what most requests ask, :meth:`TakesForOneKey.take_for`.

    :ivar poll_interval: Seconds after which a request that waits for a permit should ask again,
        because other processes give theirs back unheard; ``None`` where there are no others.
    """

    poll_interval: float | None

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Spend the units of all checks, or of none if any but a shadow is refused.

        :returns: One outcome a check, in order. If all but shadows are admitted, every check whose
            outcome is admitted was spent; otherwise nothing was, and admitted outcomes show what
            is left without spending.
        :raises StoreError: The counts cannot be read or written.
        """
        ...

    def give_back(self, checks: Sequence[Check], *, after: float = 0.0) -> None:
        """Return what these checks took: permits of in-flight limits, or units not to be charged.

        :param checks: Of one :meth:`take`, each given back at most once.
        :param after: Seconds since that take, so that units return to where they were spent.
        :raises StoreError: The counts cannot be read or written.
        """
        ...

    def forget(self, checks: Sequence[Check]) -> int:
        """Reset the counts of these checks' rates; permits stay held.

        :returns: How many of them had a count.
        :raises StoreError: The counts cannot be written.
        """
        ...

    def clear_limiters(self, limiters: Sequence[LimiterCounts]) -> int:
        """Reset the counts of these limiters' rates, of every key; permits stay held.

        It takes as long as there are keys, so it is not for requests.

        :returns: How many keys had a count.
        :raises StoreError: The counts cannot be written, or not without those of others.
        """
        ...

    def clear(self) -> int:
        """Reset the counts of all rates, of every key; permits stay held.

        Permits are kept because their requests are still running. It visits every key, so call it
        outside of requests; what is counted meanwhile may stay.

        :returns: How many keys had a count.
        :raises StoreError: The counts cannot be written, or not without those of others.
        """
        ...

    def close(self) -> None:
        """Close files and connections; the counts stay where they are."""
        ...


class TakesForOneKey(Protocol):
    """What a store can do besides."""

    def take_for(self, key: str, templates: CheckTemplates) -> list[Outcome]:
        """Do what ``take(templates.of(key))`` does, without making these checks first."""
        ...


def take_for(store: Store) -> Callable[[str, CheckTemplates], list[Outcome]]:
    """How to take from a store what is asked of every client alike."""
    quicker: Callable[[str, CheckTemplates], list[Outcome]] | None
    quicker = getattr(store, "take_for", None)
    return quicker or (lambda key, templates: store.take(templates.of(key)))
