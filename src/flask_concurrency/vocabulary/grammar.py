"""Read limits from text: ``"100/day; 10 per 2 hours; 8 in flight"``.

Knows where in the text a mistake stands; gives plain numbers and knows no limit object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import NamedTuple

from flask_concurrency.vocabulary.errors import ConfigurationError

SECONDS_PER = {
    "second": 1,
    "minute": 60,
    "hour": 3_600,
    "day": 86_400,
    "week": 7 * 86_400,
    "month": 30 * 86_400,
    "year": 365 * 86_400,
}
MAX_QUOTA = 10**9
"""Larger quotas are typing errors; a structured field would carry at most 15 digits."""

MAX_PERIOD = 1_000 * SECONDS_PER["year"]
"""Seconds; no service waits for a longer period."""

SHORTEST_DEADLINE = 0.05
"""Seconds. A tenth of a deadline is compared with ages that the kernel counts in 1 to 10 ms."""

LONGEST_DEADLINE = 3_600.0
"""Seconds; what takes longer is no request to wait for."""

_MOST_DIGITS = 15
"""Digits of a number that are worth reading: more only make it larger than anything allowed."""

EXAMPLE = '"100/day; 10 per 2 hours; 8 in flight"'

_PART = re.compile(r"[^;,]+")
_RATE = re.compile(r"(?P<quota>\d+)\s*(?:/|per\b)\s*(?P<multiple>\d+)?\s*(?P<unit>[a-z]+)", re.I)
_ADAPTIVE = re.compile(r"adaptive(?:\s+(?P<rest>.*))?", re.I | re.S)
_DEADLINE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s)", re.I)
_IN_FLIGHT = re.compile(r"(?P<quota>\d+)\s*(?:in[\s-]flight|concurrent)", re.I)


class Written(NamedTuple):
    """One limit as it was written.

    :ivar quota: Units a period, or requests at once.
    :ivar period: Seconds; ``None`` for a limit on requests in flight.
    :ivar text: The shortest spelling.
    :ivar deadline: Seconds, of an adaptive limit; ``None`` of every other.
    """

    quota: int
    period: float | None
    text: str
    deadline: float | None = None


def read_text(text: str) -> Iterator[Written]:
    """Read every limit of a text, in the order written.

    :raises ConfigurationError: Naming the text, the place in it, and an example.
    """
    empty = True
    for found in _PART.finditer(text):
        part = found.group().strip()
        if not part:
            continue
        empty = False
        if in_flight := _IN_FLIGHT.fullmatch(part):
            quota = check_quota(_number(in_flight["quota"]), written=repr(text), example=EXAMPLE)
            yield Written(quota, None, f"{quota} in flight")
            continue
        at = found.start() + found.group().find(part)
        if adaptive := _ADAPTIVE.fullmatch(part):
            yield Written(0, None, part, _read_deadline(text, part, adaptive, at))
        else:
            yield _read_rate(text, part, at=at)
    if empty:
        raise ConfigurationError(f"{text!r} holds no limit. Write one such as {EXAMPLE}.")


def check_quota(quota: object, *, written: str, example: str) -> int:
    """Refuse a quota that no server could mean; ``0`` admits nothing and is allowed.

    :raises ConfigurationError: Naming what was ``written`` and an ``example``.
    """
    if isinstance(quota, bool) or not isinstance(quota, int) or quota < 0:
        raise ConfigurationError(
            f"{written}: the quota must be a whole number of at least 0, as in {example}."
        )
    if quota > MAX_QUOTA:
        raise ConfigurationError(
            f"{written}: a quota above {MAX_QUOTA:,} limits nothing; "
            f"write a smaller one, as in {example}, or leave the limit out."
        )
    return quota


def _number(digits: str) -> int:
    return int(digits.lstrip("0")[:_MOST_DIGITS] or 0)


def _read_deadline(text: str, part: str, adaptive: re.Match[str], at: int) -> float:
    if adaptive["rest"] is None:
        return 1.0
    at += adaptive.start("rest")
    found = _DEADLINE.fullmatch(adaptive["rest"])
    if found is None:
        why = "after 'adaptive' comes a deadline, as in 'adaptive 500ms'"
        raise _malformed(text, part, at, why)
    seconds = float(found["number"]) / (1_000 if found["unit"].lower() == "ms" else 1)
    if not SHORTEST_DEADLINE <= seconds <= LONGEST_DEADLINE:
        why = f"a deadline has {SHORTEST_DEADLINE * 1e3:g} ms to {LONGEST_DEADLINE:g} s"
        raise _malformed(text, part, at, why)
    return seconds


def _read_rate(text: str, part: str, *, at: int) -> Written:
    found = _RATE.fullmatch(part)
    if found is None:
        raise _malformed(text, part, at, "expected 'N per unit', 'N in flight' or 'adaptive'")
    unit = found["unit"].lower()
    if unit not in SECONDS_PER:
        unit = unit.removesuffix("s")
    if unit not in SECONDS_PER:
        close = get_close_matches(unit, SECONDS_PER, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"units are {', '.join(SECONDS_PER)}"
        raise _malformed(
            text, part, at + found.start("unit"), f"unknown unit {found['unit']!r} ({hint})"
        )
    multiple = _number(found["multiple"] or "1")
    if multiple < 1:
        raise _malformed(text, part, at + found.start("multiple"), "a period of 0 has no end")
    if multiple * SECONDS_PER[unit] > MAX_PERIOD:
        raise _malformed(
            text, part, at + found.start("multiple"), "a period has 1,000 years at most"
        )
    quota = check_quota(_number(found["quota"]), written=repr(text), example='"5/minute"')
    period = f"{multiple} {unit}s" if multiple > 1 else unit
    return Written(quota, float(multiple * SECONDS_PER[unit]), f"{quota}/{period}")


def _malformed(text: str, part: str, at: int, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{part!r} is not a limit: {why}.\n    {text}\n    {' ' * at}^\n"
        f"Write limits such as {EXAMPLE}."
    )
