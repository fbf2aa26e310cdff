"""Read what a client asks of a request that starts a job: ``Prefer`` and ``Idempotency-Key``.

Knows the fields' grammar (RFC 7240; the key is a string of RFC 8941, or bare as many send it).
"""

from __future__ import annotations

import re
from typing import Final

from flask import g, request

from flask_concurrency.flask_app.http.job_problems import InvalidIdempotencyKey

MAX_KEY: Final = 255

_KEY: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+", re.ASCII)
_WAIT: Final = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?', re.ASCII | re.IGNORECASE)


def wanted_wait() -> float:
    """Seconds for which the client would rather wait; ``0.0`` if it does not say."""
    for field in request.headers.getlist("Prefer"):
        for preference in field.split(","):
            found = _WAIT.fullmatch(preference)
            if found:
                return float(found[1])
    return 0.0


def idempotency_key(job: str) -> str | None:
    """The key for the next submit of a job in this request; ``None`` if the client sent none.

    A view may submit one job several times; each has a key of its own, in that order.

    :raises InvalidIdempotencyKey: It is empty, too long or malformed: 400.
    """
    sent = request.headers.get("Idempotency-Key")
    if sent is None:
        return None
    key = sent.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(key) > MAX_KEY or not _KEY.fullmatch(key):
        raise InvalidIdempotencyKey(
            f"Send 1 to {MAX_KEY} visible ASCII characters without quotes or backslashes, such as "
            "a UUID."
        )
    counted: dict[str, int] = g.setdefault("_concurrency_submitted", {})
    number = counted[job] = counted.get(job, 0) + 1
    return key if number == 1 else f"{key} {number}"
