"""Turn what a policy remembers of a key into a record of fixed size, and back.

Knows the states of the policies; knows neither whose record it is nor what it decides.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from flask_concurrency.policies.fixed_window import FixedWindow, Window
from flask_concurrency.policies.moving_window import Log, MovingWindow
from flask_concurrency.policies.sliding_window import SlidingWindow, Windows
from flask_concurrency.policies.token_bucket import Bucket, TokenBucket

COUNT_AT: Final = struct.calcsize("@d")
"""Where in a record its second field is."""


class LogPlace(NamedTuple):
    """What the record of a log holds instead of it, for it has no fixed size.

    :ivar first: The number of its first block.
    :ivar size: Bytes in use.
    """

    last_at: float
    first: int
    size: int


class Codec(NamedTuple):
    """How the states of one kind of policy are written.

    :ivar unpack: Reads a state, a tuple.
    :ivar pack: Writes its fields, and after them the instant at which it may be forgotten.
    :ivar expires_at: Gives that instant of a state and its policy.
    :ivar same: Which field beside the first must be what it was, if then only the second changes,
        a word at ``COUNT_AT``; ``None`` where any field may.
    :ivar in_blocks: Whether the state is a log, of which the record says where it is.
    """

    unpack: Callable[..., tuple[Any, ...]]
    pack: Callable[..., None]
    expires_at: Callable[[Any, Any], float]
    same: int | None
    in_blocks: bool


def _codec(
    fields: str,
    expires_at: Callable[[Any, Any], float],
    *,
    same: int | None = None,
    in_blocks: bool = False,
) -> Codec:
    unpack = struct.Struct(f"@{fields}").unpack_from
    pack = struct.Struct(f"@{fields}d").pack_into
    return Codec(unpack, pack, expires_at, same, in_blocks)


def _windows_expire_at(state: Windows, policy: SlidingWindow) -> float:
    return state[0] + 2.0 * policy.period


def _window_expires_at(state: Window, policy: FixedWindow) -> float:
    return state[0] + policy.period


def _bucket_expires_at(state: Bucket, policy: TokenBucket) -> float:
    if not policy.quota:
        return math.inf
    at, spent = state
    return at + spent * policy.period / policy.quota


def _log_expires_at(place: LogPlace, policy: MovingWindow) -> float:
    return place.last_at + policy.period


CODECS: Mapping[type, Codec] = {
    SlidingWindow: _codec("dII", _windows_expire_at, same=2),
    FixedWindow: _codec("dI4x", _window_expires_at, same=0),
    TokenBucket: _codec("dd", _bucket_expires_at),
    MovingWindow: _codec("dII", _log_expires_at, in_blocks=True),
}
"""By the policy's class; an in-flight count has no record but a row of its own."""

_ENTRY = struct.Struct("=dI")
"""One entry of a log: its instant and its units."""


def pack_log(log: Log) -> bytes:
    """Write a log, which is as long as it is."""
    return b"".join([_ENTRY.pack(*entry) for entry in log])


def unpack_log(content: bytes) -> Log:
    """Read what :func:`pack_log` wrote."""
    return tuple(_ENTRY.iter_unpack(content))
