"""Keep counts on a Redis or Valkey server: one script, one round trip a stage, the server's clock.

Knows checks, keys and scripts; knows no connection, and no policy's arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.sliding_window import new
from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.stores.key_names import KeyNames
from flask_concurrency.stores.redis.client import ScriptClient
from flask_concurrency.stores.redis.leases import Held, Leases
from flask_concurrency.stores.redis.packed_take import PackedTake, packed_take
from flask_concurrency.stores.redis.rules import LETTERS, MICROSECONDS, rule_of
from flask_concurrency.stores.redis.scripts import script_for
from flask_concurrency.stores.redis.url import read_url
from flask_concurrency.stores.store import Check, CheckTemplates, LimiterCounts
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.decision import Outcome

TIMEOUT = 0.25
LEASE = 15.0
BEATS_PER_LEASE = 3
"""A renewal may be lost, and the next one late, before a lease ends."""
RENEWED_AT_ONCE = 500
"""Permits in one command: the server does nothing else meanwhile, about half a millisecond."""
IN_FLIGHT = LETTERS[InFlightCount]
MAX_PACKED = 1_000
"""Commands kept ready; an app has as many as routes with limits."""


class RedisStore:
    """Counts shared by all processes that name the same server and namespace.

    :param url: Where the server is; see :mod:`flask_concurrency.stores.redis.url`.
    :param namespace: Whose counts these are, such as a deployment's name; any text.
    :param timeout: Seconds a call takes at most.
    :param lease: Seconds after which permits of a process that died come back.
    :param clock: Seconds that never go back, for tests that move time by hand. Default: the
        server's own clock, the same for all clients.
    :raises ConfigurationError: The URL, or an option of it, is wrong.
    """

    poll_interval: float | None = 0.05

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "app",
        timeout: float = TIMEOUT,
        lease: float = LEASE,
        clock: Clock | None = None,
    ) -> None:
        self._address = read_url(url)
        self._names = KeyNames(namespace)
        self._timeout = timeout
        self._lease = lease
        self._lease_text = str(round(lease * MICROSECONDS))
        self._clock = clock
        self._packed: dict[CheckTemplates, PackedTake] = {}
        self._start()
        call_in_child(self, RedisStore._start)

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Spend the units of all checks, or of none if any but a shadow is refused; one command."""
        if not checks:
            return []
        id_ = self._leases.new_id()
        keys, letters = [], ""
        arguments: list[str | bytes] = [self._now(), id_, self._lease_text]
        for check in checks:
            letter, rule = rule_of(check.policy, check.cost, check.shadow)
            letters += letter
            keys.append(self._names.of(check, letter))
            arguments.append(rule)
        reply = self._scripts.run(script_for("take", letters), keys, arguments)
        if not (
            type(reply) is list and len(reply) == 4 * len(keys) and {*map(type, reply)} == {int}
        ):
            raise self._scripts.misunderstood(reply)
        outcomes = _outcomes(reply)
        if IN_FLIGHT in letters:
            self._hold(checks, outcomes, keys, id_)
        return outcomes

    def take_for(self, key: str, templates: CheckTemplates) -> list[Outcome]:
        """Spend the units of all checks of one key, or of none; one command."""
        packed = self._packed.get(templates) or self._pack(templates)
        if packed is not None:
            reply = self._scripts.run_packed(packed.of(key, self._now()), packed.numbers)
            if reply is not None:
                return _outcomes(reply)
        return self.take(templates.of(key))

    def _pack(self, templates: CheckTemplates) -> PackedTake | None:
        packed = packed_take(templates, self._names, self._lease_text)
        if packed is not None:
            if len(self._packed) >= MAX_PACKED:
                self._packed.clear()
            self._packed[templates] = packed
        return packed

    def give_back(self, checks: Sequence[Check], *, after: float = 0.0) -> None:
        """Return what these checks took; one command.

        Permits are released in any case: those that the server misses end with their lease.
        """
        keys, letters = [], ""
        arguments: list[str | bytes] = [self._now(), str(round(after * MICROSECONDS))]
        for check in checks:
            letter, rule = rule_of(check.policy, check.cost, check.shadow)
            key = self._names.of(check, letter)
            permit = self._leases.pop(key, check.cost) if letter == IN_FLIGHT else ""
            if permit is None:  # taken before a fork, or of cost 0
                continue
            letters += letter
            keys.append(key)
            arguments += [rule, permit]
        if keys:
            self._scripts.run(script_for("give_back", letters), keys, arguments)

    def forget(self, checks: Sequence[Check]) -> int:
        """Reset the counts of these checks' rates; permits stay held. One command."""
        rules = [(check, rule_of(check.policy, check.cost, False).letter) for check in checks]
        keys = [self._names.of(check, letter) for check, letter in rules if letter != IN_FLIGHT]
        return self._scripts.delete(keys) if keys else 0

    def clear_limiters(self, limiters: Sequence[LimiterCounts]) -> int:
        """Reset the counts of these limiters' rates, of every key; permits stay held.

        Many commands, each short, so that the server answers others in between.
        """
        letters = [(id_, rule_of(policy, 0, False).letter) for id_, policy in limiters]
        return sum(
            self._scripts.delete(keys)
            for id_, letter in letters
            if letter != IN_FLIGHT
            for keys in self._scripts.find(f"{self._names.limiter(id_, letter)}*")
        )

    def clear(self) -> int:
        """Reset the counts of all rates, of every key; permits stay held.

        Many commands, each short, so that the server answers others in between.
        """
        rates = "".join(letter for letter in LETTERS.values() if letter != IN_FLIGHT)
        batches = self._scripts.find(f"{self._names.prefix}[{rates}]:*")
        return sum(map(self._scripts.delete, batches))

    def renew(self) -> None:
        """Prolong the leases of everything held here; a thread calls it in time.

        :raises StoreError: The command did not reach the server.
        """
        self._renew(self._leases.held())

    def probe(self) -> None:
        """See whether the server answers and takes writes.

        :raises StoreUnavailable: It does not.
        """
        self._scripts.probe(self._names.probe)

    def close(self) -> None:
        """Close all connections, and renew no lease any more."""
        self._leases.close()
        self._scripts.close()

    def __str__(self) -> str:
        """Where the counts are, without credentials."""
        return self._address.text

    def _start(self) -> None:
        self._scripts = ScriptClient(self._address, timeout=self._timeout)
        self._leases = Leases(self._renew, interval=self._lease / BEATS_PER_LEASE)

    def _hold(
        self, checks: Sequence[Check], outcomes: list[Outcome], keys: list[str], id_: str
    ) -> None:
        """Remember the permits of a take, under the names the script gave them."""
        answered = list(zip(checks, outcomes, keys, strict=True))
        if not all(outcome.admitted or check.shadow for check, outcome, _ in answered):
            return
        for index, (check, outcome, key) in enumerate(answered, start=1):
            if outcome.admitted and check.cost and isinstance(check.policy, InFlightCount):
                self._leases.hold(key, check.cost, f"{check.cost}:{id_}:{index}")

    def _now(self) -> str:
        return "" if self._clock is None else str(round(self._clock() * MICROSECONDS))

    def _renew(self, held: list[Held]) -> None:
        for start in range(0, len(held), RENEWED_AT_ONCE):
            self._renew_some(held[start : start + RENEWED_AT_ONCE])

    def _renew_some(self, some: list[Held]) -> None:
        arguments: list[str | bytes] = [self._now(), self._lease_text]
        arguments += [permit for _, permit in some]
        self._scripts.run(script_for("renew", ""), [key for key, _ in some], arguments)
        # What was given back meanwhile may have been entered again, so it is removed again.
        still = set(self._leases.held())
        gone = [held for held in some if held not in still]
        if gone:
            arguments = [self._now(), "0"]
            for _, permit in gone:
                arguments += [RETURNED, permit]
            keys = [key for key, _ in gone]
            self._scripts.run(script_for("give_back", IN_FLIGHT), keys, arguments)


def _outcomes(reply: list[int]) -> list[Outcome]:
    # As in the policies: a NamedTuple made in a third of its constructor's time.
    return [
        new(
            Outcome,
            (
                reply[at] == 1,
                reply[at + 1],
                None if reply[at + 2] < 0 else reply[at + 2] / MICROSECONDS,
                None if reply[at + 3] < 0 else reply[at + 3] / MICROSECONDS,
            ),
        )
        for at in range(0, len(reply), 4)
    ]


RETURNED = rule_of(InFlightCount(0), 1, False).packed
"""The rule of a permit whose limit is not known: its entry knows the cost."""
