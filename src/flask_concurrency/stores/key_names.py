"""Name the keys on a server: bounded, safe for any bytes, all in one slot of a Redis cluster.

Knows no server and no connection.

.. code-block:: text

    {flask-concurrency:shop}:2:s:route_index_5_minute~1f0c9a44:9b74c9897bac770ffc029102a200c5de
     └ namespace ─────────┘  │ │ └ limiter, to be read ┘ └ all of it └ who is counted, digested
                        layout policy

The braces make a cluster keep a namespace's keys together, since one script may only touch keys of
one slot. The policy's letter keeps apart what is stored differently.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from flask_concurrency.stores.store import Check

LAYOUT = 2
"""Counted up when something else is stored: two versions of this library then count apart."""
WHO = 16
"""Bytes of a key's digest: so many that no two clients will ever share one."""
MAX_READABLE = 60
MAX_LIMITERS = 10_000
"""Limiters whose part of the name is kept ready; an app has as many as routes times limits."""

_UNREADABLE = re.compile(r"[^A-Za-z0-9.-]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9._:/-]")


class KeyNames:
    """Names within one namespace.

    :param namespace: Whose counts these are; any text.
    """

    def __init__(self, namespace: str) -> None:
        # Braces would end the hash tag, and a name with spaces must be quoted to be typed.
        safe = _UNSAFE.sub(lambda found: f"%{ord(found.group()):x}", namespace)
        self.prefix = f"{{flask-concurrency:{safe}}}:{LAYOUT}:"
        self.probe = f"{self.prefix}probe"
        self._limiters: dict[tuple[str, str], str] = {}
        self._last = ("", digest("", WHO))

    def of(self, check: Check, letter: str) -> str:
        """The name under which a check counts.

        :param letter: Of the check's policy.
        """
        limiter = self._limiters.get((letter, check.limiter_id))
        if limiter is None:
            limiter = self._limiter(letter, check.limiter_id)
        key, digits = self._last  # a stage's checks mostly count the same client
        if check.key != key:
            digits = digest(check.key, WHO)
            self._last = (check.key, digits)
        return limiter + digits

    def limiter(self, limiter_id: str, letter: str) -> str:
        """What the names of all keys of one limiter begin with."""
        return self._limiters.get((letter, limiter_id)) or self._limiter(letter, limiter_id)

    def _limiter(self, letter: str, limiter_id: str) -> str:
        if len(self._limiters) >= MAX_LIMITERS:
            self._limiters.clear()
        readable = _UNREADABLE.sub("_", limiter_id)[:MAX_READABLE]
        name = f"{self.prefix}{letter}:{readable}~{digest(limiter_id, 4)}:"
        self._limiters[letter, limiter_id] = name
        return name


def digest(text: str, size: int) -> str:
    """Hexadecimal digits of ``size`` bytes that stand for a text of any characters."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=size).hexdigest()
