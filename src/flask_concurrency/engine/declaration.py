"""Record what a developer declared: these limits, for these requests. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

from flask_concurrency.admission.limiter import ChargeWhen, FinalCost
from flask_concurrency.vocabulary.limits import AnyLimit

Origin = Literal["app", "default", "blueprint", "route", "block"]
"""Where a limit was declared, widest first."""

Stage = Literal["arrival", "view", "call"]
"""When a limit is asked: before every hook; after them all, when they know the user; or where its
decorator stands, when the decorators above it know the user."""


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """Limits as one call to ``limit()`` or one configuration value wrote them.

    :ivar limits: What was written, read into objects.
    :ivar key: Returns who is counted; ``None`` leaves it to the limit's kind: the extension's key
        for rates, all requests together for in-flight limits.
    :ivar cost: Units a request spends, or a callable that says so.
    :ivar methods: HTTP methods it applies to, in capitals; ``None`` for all.
    :ivar exempt_when: Requests for which it answers true are not asked.
    :ivar replace: Whether wider declarations, but for the app's own, stop applying.
    :ivar at: The stage at which it is asked.
    :ivar charge_when: Says of the response whether the request is charged; ``None`` for always.
    :ivar final_cost: Says of the response how many units it cost; ``None`` for ``cost``.
    :ivar shadow: Whether a refusal is only reported.
    :ivar static: Whether it counts static files, too, if it reaches more than one route.
    :ivar name: Shares one count with every other declaration of that name.
    """

    limits: tuple[AnyLimit, ...]
    key: Callable[[], object] | None = None
    cost: int | Callable[[], int] = 1
    methods: frozenset[str] | None = None
    exempt_when: Callable[[], bool] | None = None
    replace: bool = False
    name: str | None = None
    at: Stage = "arrival"
    charge_when: ChargeWhen | None = None
    final_cost: FinalCost | None = None
    shadow: bool = False
    static: bool = False

    @property
    def settled_by_response(self) -> bool:
        """Whether the response decides what is charged."""
        return self.charge_when is not None or self.final_cost is not None

    def says_the_same(self, other: Declaration) -> bool:
        """Whether the two declare the same, so that to count both would count twice."""
        return all(getattr(self, each.name) == getattr(other, each.name) for each in fields(self))
