"""Compute how long a request has waited before it reached the app, from ``X-Request-Start``.

Knows how proxies spell an instant; knows no limit and no response.
"""

from __future__ import annotations

import re

_INSTANT = re.compile(r"(?:t=)?(\d+)(\.\d*)?")
_DIGITS_OF_SECONDS = 10
"""Seconds since 1970 have ten digits until the year 2286; longer numbers are ms, µs or ns."""


def request_age(started: str, now: float) -> float | None:
    """Seconds since a proxy took the request.

    nginx writes ``t=1700000000.123``, Heroku milliseconds, Apache ``t=`` and microseconds.

    :param started: The header's value.
    :param now: Seconds since 1970.
    :returns: ``None`` for a value that is no instant; ``0.0`` for one in the future, since clocks
        of two machines differ.
    """
    found = _INSTANT.fullmatch(started.strip())
    if found is None:
        return None
    whole, fraction = found[1], found[2] or ""
    if len(whole) < _DIGITS_OF_SECONDS or len(whole) > _DIGITS_OF_SECONDS + 9:
        return None
    seconds = float(whole + fraction) / 10.0 ** (len(whole) - _DIGITS_OF_SECONDS)
    return max(0.0, now - seconds)
