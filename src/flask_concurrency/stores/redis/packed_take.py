"""Write the command that takes from rates of one key, all but the key beforehand.

Knows the scripts' arguments and how a command is written; knows no connection.
"""

from __future__ import annotations

from typing import NamedTuple

from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.stores.key_names import WHO, KeyNames, digest
from flask_concurrency.stores.redis.rules import LETTERS, rule_of
from flask_concurrency.stores.redis.scripts import script_for
from flask_concurrency.stores.store import CheckTemplates

NO_ID = "-"
"""The id of a take that takes nothing that has to be given back."""


class PackedTake(NamedTuple):
    """A command with gaps.

    :ivar parts: What stands around the places of the key's digest, for the server's own clock.
    :ivar rest: What comes behind the instant, which follows the last one.
    :ivar numbers: How many whole numbers the script answers.
    """

    parts: tuple[bytes, ...]
    rest: bytes
    numbers: int

    def of(self, key: str, now: str) -> bytes:
        """The command for one key.

        :param now: The instant, empty for the server's own.
        """
        who = digest(key, WHO).encode()
        if not now:
            return who.join(self.parts)
        return who.join((*self.parts[:-1], _instant(now) + self.rest))


def packed_take(templates: CheckTemplates, names: KeyNames, lease: str) -> PackedTake | None:
    """The command for these checks; ``None`` where one of them has to be given back.

    :param lease: Microseconds, in digits.
    """
    rules = [rule_of(policy, cost, shadow) for _, policy, cost, shadow in templates.each]
    letters = "".join(rule.letter for rule in rules)
    if not rules or LETTERS[InFlightCount] in letters:
        return None
    begin = b"*%d\r\n" % (6 + 2 * len(rules))
    for word in ("EVALSHA", script_for("take", letters).sha, str(len(rules))):
        begin += _argument(word.encode())
    parts = []
    for (limiter_id, *_), rule in zip(templates.each, rules, strict=True):
        name = names.limiter(limiter_id, rule.letter).encode()
        parts.append(begin + b"$%d\r\n%s" % (len(name) + 2 * WHO, name))
        begin = b"\r\n"
    after = [NO_ID.encode(), lease.encode(), *(rule.packed for rule in rules)]
    rest = b"".join(map(_argument, after))
    return PackedTake((*parts, _instant("") + rest), rest, 4 * len(rules))


def _instant(now: str) -> bytes:
    return b"\r\n" + _argument(now.encode())


def _argument(value: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(value), value)
