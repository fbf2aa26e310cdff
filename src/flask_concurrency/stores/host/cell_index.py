"""Find the cell or row of a key, and remember it for when the key comes again.

Knows which policies the file can count for; knows no lock and no request.
"""

from __future__ import annotations

import mmap
from typing import Final

from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.policy import Policy
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.stores.host.addresses import Addresses
from flask_concurrency.stores.host.codec import CODECS
from flask_concurrency.stores.host.evictions import Evictions
from flask_concurrency.stores.host.in_flight import InFlightRow, InFlightRows
from flask_concurrency.stores.host.private_file import OpenFile
from flask_concurrency.stores.host.rates import RateCell
from flask_concurrency.stores.host.record_cell import RecordCell
from flask_concurrency.stores.host.window_cell import WindowCell
from flask_concurrency.vocabulary.errors import ConfigurationError

MAX_QUOTA: Final = 2**32 - 1
"""What a word can count."""

REMEMBERED: Final = 4_096
"""CellIndex kept, so that a key that comes again is not hashed again."""
MAX_REMEMBERED_KEY: Final = 256
"""Characters of the longest key for which that is done: memory stays bounded."""

Entry = RateCell | InFlightRow


class CellIndex:
    """The cells and rows of one file.

    :param file: The file.
    :param evictions: Counts each key that must be forgotten to make room.
    :param rows: Who is inside.
    :ivar remembered: Entries found lately, by limiter and key. A caller that uses one must compare
        its policy's class.
    """

    __slots__ = ("_addresses", "_evictions", "_memory", "_rows", "remembered")

    def __init__(self, file: OpenFile, evictions: Evictions, rows: InFlightRows) -> None:
        geometry = file.header.geometry
        self._addresses = Addresses(geometry, file.header.secret)
        self._evictions = evictions
        self._memory: mmap.mmap = file.memory
        self._rows = rows
        self.remembered: dict[tuple[str, str], Entry] = {}

    def find(self, limiter_id: str, policy: Policy, key: str) -> Entry:
        """The cell or row of ``key`` in the counts of one limiter.

        :raises ConfigurationError: The file cannot count for that policy.
        """
        entry = self.remembered.get((limiter_id, key))
        if entry is not None and entry.policy is type(policy):
            return entry
        entry = self._make(limiter_id, policy, key)
        if len(key) <= MAX_REMEMBERED_KEY:
            if len(self.remembered) >= REMEMBERED:
                self.remembered.clear()
            self.remembered[limiter_id, key] = entry
        return entry

    def owner_of(self, limiter_id: str, policy: Policy) -> int:
        """How the cells of one limiter are marked."""
        return self._addresses.owner_of(limiter_id, type(policy))

    def _make(self, limiter_id: str, policy: Policy, key: str) -> Entry:
        kind = type(policy)
        if policy.quota > MAX_QUOTA:
            raise ConfigurationError(
                f"The host store counts up to {MAX_QUOTA:,}, but the quota of {limiter_id!r} "
                f"is {policy.quota:,}. Write a smaller one."
            )
        address = self._addresses.find(limiter_id, kind, key)
        if kind is InFlightCount:
            return InFlightRow(address, self._rows)
        if kind is SlidingWindow:
            return WindowCell(address, self._memory, self._evictions)
        codec = CODECS.get(kind)
        if codec is None:
            raise ConfigurationError(
                f"The host store cannot count for {kind.__name__} ({limiter_id!r}). "
                'Choose another algorithm, or set CONCURRENCY_STORE = "memory://".'
            )
        return RecordCell(address, codec, self._memory, self._evictions)
