"""Decide where in the file a key is counted. Knows hashing; knows no file and no lock.

Keys are hashed with the file's secret: no client can choose keys that crowd one bucket, and
no key can be read from the file.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.stores.host.layout import BUCKET, DIGEST, Geometry

OWNER: Final = 0xFFFFFF00
"""Of a cell's word that says whose it is: the limiter. The rest is how much of it is spent."""


class Address(NamedTuple):
    """Where one key of one limiter is counted.

    :ivar policy: The class of the policy; another one under the same id counts elsewhere.
    :ivar shard: The part of the file to lock.
    :ivar start: The first byte of the bucket, or of the shard's digests of keys inside.
    :ivar digest: What the key is called there.
    :ivar owner: Names the limiter, in the upper three bytes of a word.
    """

    policy: type
    shard: int
    start: int
    digest: bytes
    owner: int


class Addresses:
    """The addresses of one file.

    :param geometry: How large the parts of the file are.
    :param secret: The file's random bytes.
    """

    __slots__ = ("_geometry", "_hash")

    def __init__(self, geometry: Geometry, secret: bytes) -> None:
        self._geometry = geometry
        self._hash = hashlib.blake2b(digest_size=DIGEST, key=secret)

    def find(self, limiter_id: str, policy: type, key: str) -> Address:
        """The address of ``key`` in the counts of one limiter."""
        of_key = self._number("key", key)
        of_limiter = self._number(policy.__name__, limiter_id)
        of_both = of_key ^ of_limiter
        geometry = self._geometry
        # By the key alone: the limits a request meets are mostly of one key, and then one lock
        # is enough for all of them.
        shard = of_key % geometry.shards
        if policy is InFlightCount:
            start = geometry.in_flight_at + shard * geometry.in_flight_shard
        else:
            bucket = (of_both >> 64) % geometry.buckets
            start = geometry.rates_at + (shard * geometry.buckets + bucket) * BUCKET
        return Address(policy, shard, start, of_both.to_bytes(DIGEST), of_limiter << 8 & OWNER)

    def owner_of(self, limiter_id: str, policy: type) -> int:
        """How the cells of one limiter are marked."""
        return self._number(policy.__name__, limiter_id) << 8 & OWNER

    def _number(self, kind: str, text: str) -> int:
        # No name of a kind holds a zero byte, so no text of one kind is one of another.
        hashed = self._hash.copy()
        hashed.update(kind.encode() + b"\0" + text.encode(errors="surrogatepass"))
        return int.from_bytes(hashed.digest())
