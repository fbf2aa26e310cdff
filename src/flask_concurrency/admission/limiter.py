"""Join one limit with whom it counts and what a request costs. Knows no store and no Flask."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask_concurrency.policies.policy import Policy, policy_for
from flask_concurrency.vocabulary.errors import ConfigurationError, UnreadableCost
from flask_concurrency.vocabulary.grammar import MAX_QUOTA
from flask_concurrency.vocabulary.limits import Adaptive, DynamicLimit, Limit, Rate, read_limits
from flask_concurrency.vocabulary.request_functions import close_coroutine, truth

MAX_KEY = 200
"""Characters of a key kept as they are; a longer one is counted by its digest."""

MAX_CHOSEN = 1_000
"""Different limits of one function that are kept ready."""

ANONYMOUS = ""
"""The key that all requests without a key share, so that a missing key never means no limit."""


def all_requests() -> str:
    """Count all requests together."""
    return ANONYMOUS


_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")
"""What the text of an object without one of its own contains: where it lives in memory."""

ChargeWhen = Callable[[Any], bool]
"""Says of a response whether its request is charged."""

FinalCost = Callable[[Any], int]
"""Says of a response how many units its request has cost."""


@dataclass(frozen=True, slots=True, eq=False)
class Limiter:
    """One limit as it applies to one route.

    :param name: What refusals and header fields call it; unique within a gate.
    :param id: Whose counts it uses; limiters of one id share them.
    :param limit: The limit.
    :param key: Returns who is counted; an empty answer is counted under one shared key.
    :param cost: Units a request spends, or a callable that says so.
    :param exempt_when: Requests for which it answers true are not asked.
    :param charge_when: Asked with the response; units not to be charged are given back.
    :param final_cost: Asked with the response; what it says is charged instead of ``cost``.
    :param shadow: Whether a refusal is only reported.
    :param per_client: Whether it limits each client, rather than what the server bears.
    :param shared: Whether other routes spend from the same count.
    :param route: The route whose count it is; empty where there is none in particular.
    """

    name: str
    id: str
    limit: Limit
    key: Callable[[], object]
    cost: int | Callable[[], int] = 1
    exempt_when: Callable[[], bool] | None = None
    charge_when: ChargeWhen | None = None
    final_cost: FinalCost | None = None
    shadow: bool = False
    per_client: bool = True
    shared: bool = False
    route: str = ""
    policy: Policy = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "policy", policy_for(self.limit))

    @property
    def period(self) -> float | None:
        """Seconds of a rate's period; ``None`` for an in-flight limit."""
        return self.limit.period if isinstance(self.limit, Rate) else None

    @property
    def units(self) -> int:
        """Units that are left where none is spent: the quota, or what a bucket holds."""
        return self.limit.burst if isinstance(self.limit, Rate) else self.limit.quota

    @property
    def repeats(self) -> bool:
        """Whether only time admits a refused client again: no option, no other route."""
        return not (
            self.period is None
            or self.shared
            or self.shadow
            or callable(self.cost)
            or self.limit.max_wait > 0
            or self.exempt_when is not None
            or self.charge_when is not None
            or self.final_cost is not None
        )

    def is_called(self, name: str) -> bool:
        """Whether a name means it: its own, ``"sms:3/day"``, or the one it shares, ``"sms"``."""
        return self.name == name or self.name.startswith(f"{name}:")

    @property
    def exempts(self) -> bool:
        """Whether this request is not to be asked."""
        return self.exempt_when is not None and truth("exempt_when", self.exempt_when())

    def current_cost(self) -> int:
        """Units this request spends; of a function at least 1, since a client may choose them.

        :raises ConfigurationError: The function gave no whole number.
        :raises UnreadableCost: The function raised :exc:`ValueError`.
        """
        if not callable(self.cost):
            return self.cost
        try:
            cost = self.cost()
        except ConfigurationError:
            raise
        except ValueError as error:
            raise UnreadableCost(f"The cost of {self.name!r} cannot be read: {error}") from error
        if isinstance(cost, bool) or not isinstance(cost, int):
            close_coroutine(cost)
            return check_cost(cost, written=f"cost of {self.name!r}")
        return min(max(1, cost), MAX_QUOTA + 1)


class DynamicLimiter:
    """Limiters that a function chooses in each request.

    :param chosen: The function.
    :param prefix: What the names of its limiters begin with.
    :param make: Makes a limiter for a limit and a name.
    :param first_number: Gives the number that such a name begins with, the same in each request.
        Default: 1.
    """

    __slots__ = ("_first_number", "_made", "chosen", "make", "prefix")

    def __init__(
        self,
        chosen: DynamicLimit,
        prefix: str,
        make: Callable[[Limit, str], Limiter],
        first_number: Callable[[str], int] = lambda name: 1,
    ) -> None:
        self._first_number = first_number
        self.chosen = chosen
        self.prefix = prefix
        self.make = make
        self._made: dict[tuple[Limit, int], Limiter] = {}

    def current(self, named: dict[str, Limiter]) -> list[Limiter]:
        """The limiters of this request; made once for each limit that was ever chosen.

        :param named: What was chosen for the request before, to which these are added. One that
            counts the same as one of them is left out; one with only its name gets a number.
        :raises ConfigurationError: What was chosen is no limit.
        """
        written = self.chosen.choose()
        limiters = []
        for limit in () if written is None else read_limits(written):
            if isinstance(limit, DynamicLimit):
                raise ConfigurationError(
                    f"{self.chosen.text} gave {limit.text!r}: choose limits, not functions."
                )
            if isinstance(limit, Adaptive):
                raise ConfigurationError(
                    f"{self.chosen.text} gave {limit.text!r}: an adaptive limit learns from one "
                    "request for the next, so declare it for all of them."
                )
            for number in itertools.count():
                limiter = self._limiter(limit, number)
                other = named.get(limiter.name)
                if other is None:
                    named[limiter.name] = limiter
                    limiters.append(limiter)
                if other is None or (other.id, other.key) == (limiter.id, limiter.key):
                    break
        return limiters

    @property
    def made(self) -> list[Limiter]:
        """Those that were chosen so far, in this process."""
        return list(self._made.values())

    def _limiter(self, limit: Limit, number: int) -> Limiter:
        limiter = self._made.get((limit, number))
        if limiter is None:
            if len(self._made) >= MAX_CHOSEN:
                self._made.clear()
            name = f"{self.prefix}:{limit.text}"
            name = numbered(name, self._first_number(name) + number)
            limiter = self._made[limit, number] = self.make(limit, name)
        return limiter


def numbered(name: str, number: int) -> str:
    """Name the second limit, and those after it, of one name, so that each counts for itself."""
    return name if number == 1 else f"{name} ({number})"


def _text(key: object) -> str:
    if isinstance(key, int | float):
        return str(key)
    text = str(key)
    if _ADDRESS.search(text) or isinstance(key, set | frozenset):
        close_coroutine(key)
        raise ConfigurationError(
            f"A key function gave {text!r}, which has no text of its own: it says something else "
            "in each request or process. Give what identifies the client, as in "
            "key=lambda: g.user.id."
        )
    return text


def check_cost(cost: object, *, written: str) -> int:
    """Refuse a cost that cannot be counted.

    :raises ConfigurationError: ``cost`` is not a whole number of at least 0.
    """
    if isinstance(cost, bool) or not isinstance(cost, int) or cost < 0:
        raise ConfigurationError(
            f"{written}: {cost!r} units cannot be spent; give a whole number of at least 0."
        )
    return cost


def normalized_key(key: object) -> str:
    """Make what a key function gave fit to be counted: text, of bounded length, never nothing.

    :raises ConfigurationError: It has no text that is the same in each request and process.
    """
    if not isinstance(key, str):
        key = ANONYMOUS if key is None else _text(key)
    if len(key) <= MAX_KEY:
        return key
    return "blake2b:" + hashlib.blake2b(key.encode(errors="surrogatepass")).hexdigest()[:64]
