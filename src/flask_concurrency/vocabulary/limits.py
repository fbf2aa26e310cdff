"""Say what a limit is: units a period, requests at once, or what can be answered in time.

Knows how a limit is written down; knows no counting, no clock, no key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

from flask_concurrency.vocabulary.errors import ConfigurationError
from flask_concurrency.vocabulary.grammar import (
    EXAMPLE,
    LONGEST_DEADLINE,
    SHORTEST_DEADLINE,
    Written,
    check_quota,
    read_text,
)
from flask_concurrency.vocabulary.request_functions import check_function

Algorithm = Literal["sliding-window", "fixed-window", "moving-window", "token-bucket"]
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)

Order = Literal["fifo", "lifo"]
Scope = Literal["process"] | None

_OTHER_NAMES: dict[Algorithm, Algorithm] = {"moving-window": "sliding-window"}
"""What others call an algorithm of ours, for those who migrate."""


@dataclass(frozen=True, slots=True, init=False)
class Rate:
    """``quota`` units a ``period``.

    :param text: One rate in the grammar ``N per|/ [k] unit``, such as ``"5/minute"``,
        ``"100 per 2 hours"``. Units: second, minute, hour, day, week, month (30 days),
        year (365 days).
    :param algorithm: ``"sliding-window"`` (the default) admits at most ``quota`` units in every
        trailing period, and refuses no client that asks for no more; ``"fixed-window"`` counts
        from the first request of a window and starts over when it ends; ``"token-bucket"`` lets
        ``burst`` units through at once and refills evenly. ``"moving-window"`` is another name of
        the default.
    :param burst: Units a full token bucket holds. Default: the quota.
    :param max_wait: Seconds for which a request waits until the rate lets it in, instead of being
        refused; a quota of requests at most waits in each process. Default: ``0.0``.
    :raises ConfigurationError: The text is malformed, or an option does not fit.

    :ivar quota: Units allowed per period.
    :ivar period: Seconds.
    :ivar text: The rate in its shortest spelling, such as ``"5/minute"``.
    :ivar burst: Units at once; the quota, but for a token bucket that says otherwise.
    """

    quota: int
    period: float
    text: str
    algorithm: Algorithm
    burst: int
    max_wait: float

    def __init__(
        self,
        text: str,
        *,
        algorithm: Algorithm = "sliding-window",
        burst: int | None = None,
        max_wait: float = 0.0,
    ) -> None:
        rates = list(read_text(text)) if isinstance(text, str) else []
        if len(rates) != 1 or rates[0].period is None:
            raise ConfigurationError(
                f'Rate({text!r}): write exactly one rate as text, as in Rate("5/minute").'
            )
        quota = rates[0].quota
        if algorithm not in ALGORITHMS:
            raise ConfigurationError(
                f"Unknown algorithm {algorithm!r} for the rate {text!r}: "
                f"choose one of {', '.join(map(repr, ALGORITHMS))}."
            )
        if burst is not None:
            if algorithm != "token-bucket":
                raise ConfigurationError(
                    f"Rate({text!r}, burst={burst!r}): only a token bucket holds a burst; "
                    'add algorithm="token-bucket".'
                )
            example = f'Rate({text!r}, algorithm="token-bucket", burst=10)'
            check_quota(burst, written=f"burst={burst!r}", example=example)
        check_wait(max_wait, example=f"Rate({text!r}, max_wait=2.0)")
        object.__setattr__(self, "max_wait", float(max_wait))
        object.__setattr__(self, "quota", quota)
        object.__setattr__(self, "period", rates[0].period)
        object.__setattr__(self, "text", rates[0].text)
        object.__setattr__(self, "algorithm", _OTHER_NAMES.get(algorithm, algorithm))
        object.__setattr__(self, "burst", quota if burst is None else burst)


def check_wait(max_wait: object, *, example: str) -> None:
    """Refuse what is no time to wait.

    :raises ConfigurationError: Naming it, and an example.
    """
    if (
        isinstance(max_wait, bool)
        or not isinstance(max_wait, int | float)
        or not 0 <= max_wait < inf
    ):
        raise ConfigurationError(
            f"max_wait={max_wait!r}: give seconds, as in {example}; no wait is endless."
        )


@dataclass(frozen=True, slots=True)
class InFlight:
    """At most ``quota`` requests at the same time, however long each takes.

    Unlike a rate it counts all requests together unless a key is given, because it protects the
    server and not one client from another. With ``max_queue`` and ``max_wait`` those who find it
    full may wait for a permit, in a room that is bounded by number and by time.

    :param quota: Requests that may be inside at once, from 0 (closed) to a billion.
    :param max_queue: Requests that may wait for a permit. Default: ``0``, refuse at once.
    :param max_wait: Seconds a request waits at most. Default: ``0.0``.
    :param order: Who is next, ``"fifo"`` (the default) or ``"lifo"``, which under overload serves
        the newest requests in time instead of all of them too late.
    :param scope: ``"process"`` counts each worker process by itself. Default: ``None``, all
        processes that share the store.
    :raises ConfigurationError: A value is impossible, or waiting is only half configured.
    """

    quota: int
    max_queue: int = 0
    max_wait: float = 0.0
    order: Order = "fifo"
    scope: Scope = None

    def __post_init__(self) -> None:
        written = f"InFlight({self.quota!r})"
        check_quota(self.quota, written=written, example="InFlight(8)")
        example = "InFlight(8, max_queue=32, max_wait=2.0)"
        check_quota(self.max_queue, written=f"max_queue={self.max_queue!r}", example=example)
        check_wait(self.max_wait, example=example)
        if (self.max_queue > 0) != (self.max_wait > 0):
            raise ConfigurationError(
                f"{written} with max_queue={self.max_queue!r} and max_wait={self.max_wait!r}: a "
                f"waiting room is bounded by both; give both, as in {example}, or neither."
            )
        if self.order not in get_args(Order):
            raise ConfigurationError(f'order={self.order!r}: give "fifo" or "lifo".')
        if self.scope not in (None, "process"):
            raise ConfigurationError(f'scope={self.scope!r}: give "process" or None.')

    @property
    def text(self) -> str:
        """The limit in its shortest spelling, such as ``"8 in flight"``."""
        return f"{self.quota} in flight"


Limit = Rate | InFlight
"""A limit that counts in a store."""


@dataclass(frozen=True, slots=True)
class Adaptive:
    """As many requests as can be answered in time, found out while they come.

    It refuses what is too old to be answered in time and, once answers are late, what would make
    them later. Each worker process counts by itself, since each has its own interpreter. As text:
    ``"adaptive"``, ``"adaptive 500ms"``.

    :param deadline: Seconds in which an answer is worth having, from the arrival of the request in
        the kernel to the last byte of its answer. Default: ``1.0``.
    :param min: Requests that may always be in flight. Default: ``1``.
    :param max: Requests that may ever be in flight. Default: ``None``, any number.
    :raises ConfigurationError: A value is impossible.
    """

    deadline: float = 1.0
    min: int = 1
    max: int | None = None

    def __post_init__(self) -> None:
        if (
            isinstance(self.deadline, bool)
            or not isinstance(self.deadline, int | float)
            or not SHORTEST_DEADLINE <= self.deadline <= LONGEST_DEADLINE
        ):
            raise ConfigurationError(
                f"Adaptive(deadline={self.deadline!r}): give the seconds in which an answer is "
                f"worth having, from {SHORTEST_DEADLINE:g} to {LONGEST_DEADLINE:g}, as in "
                "Adaptive(deadline=0.5); the kernel counts ages in steps of several milliseconds."
            )
        example = "Adaptive(min=4, max=64)"
        check_quota(self.min, written=f"min={self.min!r}", example=example)
        if self.max is not None:
            check_quota(self.max, written=f"max={self.max!r}", example=example)
        if self.min < 1 or (self.max is not None and self.max < self.min):
            raise ConfigurationError(
                f"Adaptive(min={self.min!r}, max={self.max!r}): min must be at least 1, and max no "
                f"smaller than min, as in {example}."
            )

    @property
    def text(self) -> str:
        """The limit in its shortest spelling, such as ``"adaptive"``, ``"adaptive 500ms"``."""
        if self.deadline == 1.0:
            return "adaptive"
        seconds = round(self.deadline, 3)
        return f"adaptive {seconds:g}s" if seconds >= 1 else f"adaptive {seconds * 1e3:g}ms"


@dataclass(frozen=True, slots=True)
class DynamicLimit:
    """Limits that a function chooses in each request, such as those of the customer's plan.

    :ivar choose: Gives limits in any spelling, or ``None`` for none.
    :raises ConfigurationError: It cannot be asked in a request.
    """

    choose: Callable[[], LimitLike | None]

    def __post_init__(self) -> None:
        check_function("limit", self.choose)

    @property
    def text(self) -> str:
        """The function that chooses, such as ``"chosen by plan_limits"``."""
        name: str = getattr(self.choose, "__qualname__", type(self.choose).__qualname__)
        return f"chosen by {name.rpartition('<locals>.')[2]}"


AnyLimit = Limit | Adaptive | DynamicLimit

LimitLike = str | AnyLimit | Callable[[], "LimitLike | None"] | Iterable["LimitLike"]
"""What a limit may be written as wherever one is expected: text, an object, or several."""


def read_limits(written: LimitLike) -> tuple[AnyLimit, ...]:
    """Turn what a developer wrote into limits, in the order written.

    :param written: Text in the grammar, joined by ``;`` or ``,``; a :class:`Rate`, an
        :class:`InFlight`, an :class:`Adaptive`; a function to ask in each request; or an iterable
        of these.
    :raises ConfigurationError: Naming the text, the place in it, and an example.
    """
    if callable(written):
        return (DynamicLimit(written),)
    if isinstance(written, str):
        return tuple(_read(found) for found in read_text(written))
    if isinstance(written, Rate | InFlight | Adaptive | DynamicLimit):
        return (written,)
    if isinstance(written, Iterable) and not isinstance(written, bytes):
        return tuple(limit for part in written for limit in read_limits(part))
    raise ConfigurationError(
        f"{written!r} is not a limit. Write text such as {EXAMPLE}, a Rate, an InFlight or an "
        "Adaptive."
    )


def _read(found: Written) -> Limit | Adaptive:
    if found.deadline is not None:
        return Adaptive(found.deadline)
    return InFlight(found.quota) if found.period is None else Rate(found.text)
