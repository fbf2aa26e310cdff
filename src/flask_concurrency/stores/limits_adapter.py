"""Keep counts in a storage of the ``limits`` library, such as memcached or MongoDB.

Promises less than our own stores, because such a storage can do less: one trip a limit and more,
one after the other; see ``docs/how-to/other-stores.md``. Knows no HTTP and no Flask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.errors import ConfigurationError as LimitsConfigurationError
from limits.errors import StorageError
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    RateLimiter,
    SlidingWindowCounterRateLimiter,
)

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.policy import Policy
from flask_concurrency.policies.sliding_window import RUNS, SlidingWindow
from flask_concurrency.policies.spending import refuse_negative
from flask_concurrency.stores.key_names import KeyNames
from flask_concurrency.stores.store import Check, LimiterCounts
from flask_concurrency.stores.uri_text import require_plain_credentials, without_credentials
from flask_concurrency.vocabulary.clock import Clock, wall
from flask_concurrency.vocabulary.decision import Outcome
from flask_concurrency.vocabulary.errors import (
    ConfigurationError,
    StoreError,
    StoreUnavailable,
)
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.store")

PREFIX = "limits+"

Strategy = type[FixedWindowRateLimiter | MovingWindowRateLimiter | SlidingWindowCounterRateLimiter]
LETTERS: dict[Strategy, str] = {
    SlidingWindowCounterRateLimiter: "s",
    FixedWindowRateLimiter: "f",
    MovingWindowRateLimiter: "m",
}
"""How the names of keys distinguish what is stored differently."""


class _Asked(NamedTuple):
    """One check in the library's words, and what its storage said before anything was spent."""

    check: Check
    limiter: RateLimiter
    item: RateLimitItem
    name: str
    remaining: int
    reset_after: float


class LimitsStore:
    """Counts in a storage of the ``limits`` library.

    :param uri: The storage's URI with ``limits+`` in front, as in
        ``"limits+memcached://localhost:11211"``.
    :param namespace: Whose counts these are; any text.
    :param timeout: Seconds a trip takes at most, where the storage's client can be configured.
    :param clock: The clock the library counts by.
    :raises ConfigurationError: The library has no such storage, or its client is not installed.
    """

    poll_interval: float | None = None

    def __init__(
        self, uri: str, *, namespace: str = "app", timeout: float = 0.25, clock: Clock = wall
    ) -> None:
        target = uri.removeprefix(PREFIX)
        scheme = target.partition("://")[0]
        self._text = PREFIX + without_credentials(target)
        require_plain_credentials(uri)
        if not scheme or "://" not in target:
            raise ConfigurationError(
                f"{self._text!r} names no storage: write the library's URI after {PREFIX!r}, as in "
                '"limits+memcached://localhost:11211".'
            )
        try:
            storage = storage_from_string(target, wrap_exceptions=True, **_options(scheme, timeout))
        except (LimitsConfigurationError, TypeError, ValueError) as error:
            words = str(error).replace(target, f"{scheme}://")  # it may hold a password
            raise ConfigurationError(f"{self._text!r} names no storage: {words}.") from None
        if not isinstance(storage, Storage):
            raise ConfigurationError(f'{self._text!r} is asynchronous: leave out "async+".')
        self._storage = storage
        self._clock = clock
        self._names = KeyNames(namespace)
        self._limiters: dict[Strategy, RateLimiter] = {}
        self._keeps_logs = True
        self._told_kept = False

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Look at all checks, then spend them one after the other.

        Where another process comes between, a check may be refused after those before it were
        spent: fixed windows get their units back, where the storage can, others do not. Never
        are more units admitted than allowed.

        :raises ConfigurationError: A check's policy cannot be counted here.
        """
        with self._talking():
            asked = [self._ask(check) for check in checks]
            fits = [each.check.cost <= each.remaining for each in asked]
            admitted = all(
                fit or each.check.shadow for fit, each in zip(fits, asked, strict=True)
            ) and self._spend(asked, fits)
        return [
            _outcome(each, fit, spent=fit and admitted)
            for each, fit in zip(asked, fits, strict=True)
        ]

    def give_back(self, checks: Sequence[Check], *, after: float = 0.0) -> None:
        """Return the units of fixed windows; others stay charged, which is logged once."""
        with self._talking():
            for check in checks:
                self._return(check, self._item(check.policy), self._name(check))

    def forget(self, checks: Sequence[Check]) -> int:
        """Reset the counts of these checks."""
        with self._talking():
            asked = [self._ask(check) for check in checks]
            for each in asked:
                each.limiter.clear(each.item, each.name)
            return sum(each.remaining < each.check.policy.quota for each in asked)

    def clear_limiters(self, limiters: Sequence[LimiterCounts]) -> int:
        """The library cannot find the keys of a limiter.

        :raises StoreError: Always; reset keys one by one.
        """
        raise StoreError(
            f"{self._text!r} cannot clear a limiter: the limits library does not list the keys "
            "of a storage. Start keys anew one by one."
        )

    def clear(self) -> int:
        """Reset all counts, where the storage holds no counts of others.

        :raises StoreError: The storage could forget the counts of others, too.
        """
        if not isinstance(self._storage, MemoryStorage):
            raise StoreError(
                f"{self._text!r} cannot be cleared: the limits library empties a storage with all "
                "that others count there. Start keys anew one by one, or use another namespace."
            )
        return self._storage.reset() or 0

    def probe(self) -> None:
        """See whether the storage answers.

        :raises StoreUnavailable: It does not.
        """
        with self._talking():
            if not self._storage.check():
                raise StoreUnavailable(f"{self._text!r} does not answer.")

    def close(self) -> None:
        """The library's storages close their connections with the process."""

    def __str__(self) -> str:
        """Where the counts are, without credentials."""
        return self._text

    def _ask(self, check: Check) -> _Asked:
        if check.cost < 0:
            refuse_negative(check.cost)
        name = self._name(check)
        limiter, item = self._limiter(check.policy), self._item(check.policy)
        reset_at, remaining = limiter.get_window_stats(item, name)
        reset_after = 0.0
        if remaining < check.policy.quota:  # of a window that has just begun it may know no end
            reset_after = max(0.0, reset_at - self._clock()) or item.get_expiry()
        return _Asked(check, limiter, item, name, remaining, reset_after)

    def _spend(self, asked: list[_Asked], fits: list[bool]) -> bool:
        """Spend what fits; ``False``, with ``fits`` corrected, if another client came between."""
        spent: list[_Asked] = []
        for index, each in enumerate(asked):
            if not fits[index] or not each.check.cost:
                continue
            spent.append(each)
            if each.limiter.hit(each.item, each.name, cost=each.check.cost):
                continue
            fits[index] = False
            if not each.check.shadow:
                for early in spent:
                    self._return(early.check, early.item, early.name)
                return False
        return True

    def _return(self, check: Check, item: RateLimitItem, name: str) -> None:
        if not isinstance(check.policy, FixedWindow):
            self._tell_kept(f"units of {check.limiter_id!r}")
            return
        key = item.key_for(name)
        if self._storage.get(key) < check.cost:  # a new window has begun
            return
        try:
            self._storage.incr(key, item.get_expiry(), amount=-check.cost)
        except StorageError as error:  # memcached only counts up
            self._tell_kept(str(error.storage_error))

    def _tell_kept(self, what: str) -> None:
        if not self._told_kept:
            self._told_kept = True
            logger.warning("%s cannot give units back, they stay charged: %s.", self._text, what)

    def _item(self, policy: Policy) -> RateLimitItem:
        return RateLimitItemPerSecond(policy.quota, round(policy.period))  # type: ignore[attr-defined]

    def _name(self, check: Check) -> str:
        return self._names.of(check, LETTERS[self._strategy(check.policy)])

    def _strategy(self, policy: Policy) -> Strategy:
        """What counts a policy: a log where the default is exact and the storage keeps logs."""
        if isinstance(policy, FixedWindow):
            return FixedWindowRateLimiter
        if not isinstance(policy, SlidingWindow):
            raise ConfigurationError(
                f"{self._text!r} cannot count {policy!r}: the limits library has sliding and "
                "fixed windows. Use a memory, host or Redis store for other limits."
            )
        if policy.quota <= RUNS and self._keeps_logs:
            try:
                self._made(MovingWindowRateLimiter)
            except NotImplementedError:  # memcached
                self._keeps_logs = False
            else:
                return MovingWindowRateLimiter
        return SlidingWindowCounterRateLimiter

    def _limiter(self, policy: Policy) -> RateLimiter:
        try:
            return self._made(self._strategy(policy))
        except NotImplementedError as error:
            raise ConfigurationError(f"{self._text!r} cannot count so: {error}.") from None

    def _made(self, strategy: Strategy) -> RateLimiter:
        limiter = self._limiters.get(strategy)
        if limiter is None:
            limiter = self._limiters[strategy] = strategy(self._storage)
        return limiter

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            words = str(error.storage_error)
        except OSError as error:
            words = str(error)
        else:
            return
        raise StoreUnavailable(f"{self._text!r} is of no use: {words.rstrip('.')}.")


def _outcome(asked: _Asked, admitted: bool, *, spent: bool) -> Outcome:
    cost, policy = asked.check.cost, asked.check.policy
    remaining, reset_after = asked.remaining, asked.reset_after
    if spent and cost:
        remaining -= cost
        reset_after = reset_after or policy.period  # type: ignore[attr-defined]
    if admitted:
        return Outcome(True, remaining, 0.0, reset_after)
    retry_after = reset_after if 0 < cost <= policy.quota else None
    return Outcome(False, remaining, retry_after, reset_after)


def _options(scheme: str, timeout: float) -> dict[str, float]:
    """The options that keep each storage's client from waiting for ever."""
    if scheme == "memcached":
        return {"timeout": timeout, "connect_timeout": timeout}
    if scheme.startswith("mongodb"):
        names = ("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS")
        return {name: max(1, round(timeout * 1_000)) for name in names}
    return {}
