"""Record what a developer declared: these limits, for these requests. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from flask_concurrency.vocabulary.limits import Limit

Origin = Literal["app", "default", "blueprint", "route"]
"""Where a limit was declared, widest first."""


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """Limits as one call to ``limit()`` or one configuration value wrote them.

    :ivar limits: What was written, read into objects.
    :ivar key: Gives who is counted; ``None`` leaves it to the limit's kind: the extension's key
        for rates, everybody together for in-flight limits.
    :ivar cost: Units a request spends, or a callable that says so.
    :ivar methods: HTTP methods it applies to, in capitals; ``None`` for all.
    :ivar exempt_when: Requests for which it answers true are not asked.
    :ivar replace: Whether wider declarations, but for the app's own, stop applying.
    :ivar name: Shares one count with every other declaration of that name.
    """

    limits: tuple[Limit, ...]
    key: Callable[[], object] | None = None
    cost: int | Callable[[], int] = 1
    methods: frozenset[str] | None = None
    exempt_when: Callable[[], bool] | None = None
    replace: bool = False
    name: str | None = None
