"""Spell a decision as the ``RateLimit-Policy`` and ``RateLimit`` header fields.

RFC 9651 structured fields as in draft-ietf-httpapi-ratelimit-headers-11. Knows no Flask.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from math import ceil

from flask_concurrency.vocabulary.decision import Verdict
from flask_concurrency.vocabulary.errors import ConfigurationError

MAX_NAME = 64
_PRINTABLE_ASCII = re.compile(r"[ -~]+")


def rate_limit_policy(verdicts: Iterable[Verdict]) -> str:
    """What applies: ``"route:5/minute";q=5;w=60``, one item a policy."""
    return ", ".join([_policy(v.name, v.quota, v.period) for v in verdicts])


def rate_limit(verdicts: Iterable[Verdict]) -> str:
    """What is left: ``"route:5/minute";r=4;t=12``, one item a policy.

    ``t`` is whole seconds until more is left; an in-flight limit has none.
    """
    return ", ".join(
        [
            f"{_name(v.name)};r={v.remaining}"
            if v.reset_after is None
            else f"{_name(v.name)};r={v.remaining};t={ceil(v.reset_after)}"
            for v in verdicts
        ]
    )


def check_name(name: str) -> str:
    """Refuse a limit's name that no header field could carry.

    :raises ConfigurationError: It is empty, longer than 64 characters or not printable ASCII.
    """
    if not isinstance(name, str) or not _PRINTABLE_ASCII.fullmatch(name) or len(name) > MAX_NAME:
        raise ConfigurationError(
            f"name={name!r}: a limit's name stands in header fields, so it must be 1 to "
            f'{MAX_NAME} printable ASCII characters, as in name="sms".'
        )
    return name


@lru_cache(maxsize=4096)
def _policy(name: str, quota: int, period: float | None) -> str:
    if period is None:
        return f'{_name(name)};q={quota};qu="concurrent-requests"'
    return f"{_name(name)};q={quota};w={ceil(period)}"


@lru_cache(maxsize=4096)
def _name(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
