"""Turn what a policy with two numbers remembers of a key into a record, and back.

Knows the states of those policies; knows neither whose record it is nor what it decides.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple

from flask_concurrency.policies.fixed_window import FixedWindow, Window
from flask_concurrency.policies.token_bucket import Bucket, TokenBucket

COUNT_AT: Final = struct.calcsize("@d")
"""Where in a record its second number is."""


class Codec(NamedTuple):
    """How the states of one kind of policy are written.

    :ivar unpack: Reads a state: an instant and how much is spent.
    :ivar pack: Writes it.
    :ivar expires_at: Gives the instant at which a state of a policy may be forgotten.
    :ivar holds: Gives what may be spent of a policy.
    :ivar counts: Whether the second number is a word, which may change alone.
    """

    unpack: Callable[..., tuple[Any, ...]]
    pack: Callable[..., None]
    expires_at: Callable[[Any, Any], float]
    holds: Callable[[Any], int]
    counts: bool


def _window_expires_at(state: Window, policy: FixedWindow) -> float:
    return state[0] + policy.period


def _bucket_expires_at(state: Bucket, policy: TokenBucket) -> float:
    if not policy.quota:
        return math.inf
    at, spent = state
    return at + spent * policy.period / policy.quota


_WINDOW = struct.Struct("@dI")
_BUCKET = struct.Struct("@dd")

CODECS: Mapping[type, Codec] = {
    FixedWindow: Codec(
        _WINDOW.unpack_from, _WINDOW.pack_into, _window_expires_at, attrgetter("quota"), True
    ),
    TokenBucket: Codec(
        _BUCKET.unpack_from, _BUCKET.pack_into, _bucket_expires_at, attrgetter("burst"), False
    ),
}
"""By the policy's class; a sliding window has runs instead, an in-flight count a row."""
