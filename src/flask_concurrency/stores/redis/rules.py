"""Translate a policy into arguments of the scripts. Knows the policies' numbers; knows no key."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.policy import Policy
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.spending import refuse_negative
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.vocabulary.errors import ConfigurationError

MICROSECONDS = 1_000_000
MAX_RULES = 10_000
"""Rules kept ready; an app has as many as different limits and costs."""
MOST = 10**15
"""A cost above any quota, which a double still counts by one."""

PACKED = Struct("<cddddB")
"""As ``rule.lua`` reads it."""

LETTERS: dict[type, str] = {
    SlidingWindow: "s",
    FixedWindow: "f",
    TokenBucket: "b",
    InFlightCount: "i",
}


class Rule(NamedTuple):
    """One check without its key, as the scripts read it.

    :ivar letter: Which policy.
    :ivar packed: Letter, quota, period in microseconds, burst, cost, and whether it is a shadow.
    """

    letter: str
    packed: bytes


_RULES: dict[tuple[Policy, int, bool], Rule] = {}


def rule_of(policy: Policy, cost: int, shadow: bool) -> Rule:
    """Write a rule, or find it written.

    :raises ConfigurationError: There is no script for the policy, or the cost is negative.
    """
    rule = _RULES.get((policy, cost, shadow))
    if rule is None:
        if len(_RULES) >= MAX_RULES:
            _RULES.clear()
        rule = _RULES[policy, cost, shadow] = _write(policy, cost, shadow)
    return rule


def _write(policy: Policy, cost: int, shadow: bool) -> Rule:
    if cost < 0:
        refuse_negative(cost)
    letter = LETTERS.get(type(policy))
    if letter is None:
        raise ConfigurationError(
            f"{policy!r} cannot be counted on Redis: there is no script for it."
        )
    period = round(getattr(policy, "period", 0) * MICROSECONDS)
    burst = getattr(policy, "burst", 0)
    packed = PACKED.pack(letter.encode(), policy.quota, period, burst, min(cost, MOST), shadow)
    return Rule(letter, packed)
