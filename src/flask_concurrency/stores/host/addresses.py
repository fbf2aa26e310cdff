"""Decide where in the file a key is counted. Knows hashing; knows no file and no lock.

Keys are hashed with the file's secret: nobody can choose keys that crowd one bucket, and the
file names nobody.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.policy import Policy
from flask_concurrency.stores.host.codec import CODECS, Codec
from flask_concurrency.stores.host.layout import BUCKET, DIGEST, Geometry
from flask_concurrency.vocabulary.errors import ConfigurationError

MAX_QUOTA: Final = 2**32 - 1
"""What a word can count."""

REMEMBERED: Final = 4_096
"""Addresses kept, so that a key that comes again is not hashed again."""
MAX_REMEMBERED_KEY: Final = 256
"""Characters of the longest key for which that is done: memory stays bounded."""


class Address(NamedTuple):
    """Where one key of one limiter is counted.

    :ivar policy: The class of the policy; another one under the same id counts elsewhere.
    :ivar shard: The part of the file to lock.
    :ivar start: The first byte of the bucket, or of the shard's digests of keys inside.
    :ivar digest: What the key is called there.
    :ivar codec: How its state is written; ``None`` for an in-flight count.
    """

    policy: type
    shard: int
    start: int
    digest: bytes
    codec: Codec | None


class Addresses:
    """The addresses of one file.

    :param geometry: How large the parts of the file are.
    :param secret: The file's random bytes.
    """

    __slots__ = ("_geometry", "_hash", "_remembered")

    def __init__(self, geometry: Geometry, secret: bytes) -> None:
        self._geometry = geometry
        self._hash = hashlib.blake2b(digest_size=DIGEST, key=secret)
        self._remembered: dict[tuple[str, str], Address] = {}

    def find(self, limiter_id: str, policy: Policy, key: str) -> Address:
        """The address of ``key`` in the counts of one limiter.

        :raises ConfigurationError: The file cannot count for that policy.
        """
        address = self._remembered.get((limiter_id, key))
        if address is not None and address.policy is type(policy):
            return address
        address = self._compute(limiter_id, policy, key)
        if len(key) <= MAX_REMEMBERED_KEY:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            self._remembered[limiter_id, key] = address
        return address

    def _compute(self, limiter_id: str, policy: Policy, key: str) -> Address:
        kind = type(policy)
        codec = CODECS.get(kind)
        if codec is None and kind is not InFlightCount:
            raise ConfigurationError(
                f"The host store cannot count for {kind.__name__} ({limiter_id!r}). "
                'Choose another algorithm, or set CONCURRENCY_STORE = "memory://".'
            )
        if policy.quota > MAX_QUOTA:
            raise ConfigurationError(
                f"The host store counts up to {MAX_QUOTA:,}, but the quota of {limiter_id!r} "
                f"is {policy.quota:,}. Write a smaller one."
            )
        of_key = self._number("key", key)
        of_both = of_key ^ self._number(kind.__name__, limiter_id)
        geometry = self._geometry
        # By the key alone: the limits a request meets are mostly of one key, and then one lock
        # is enough for all of them.
        shard = of_key % geometry.shards
        if codec is None:
            start = geometry.in_flight_at + shard * geometry.in_flight_shard
        else:
            bucket = (of_both >> 64) % geometry.buckets
            start = geometry.rates_at + (shard * geometry.buckets + bucket) * BUCKET
        return Address(kind, shard, start, of_both.to_bytes(DIGEST), codec)

    def _number(self, kind: str, text: str) -> int:
        # No name of a kind holds a zero byte, so no text of one kind is one of another.
        hashed = self._hash.copy()
        hashed.update(kind.encode() + b"\0" + text.encode(errors="surrogatepass"))
        return int.from_bytes(hashed.digest())
