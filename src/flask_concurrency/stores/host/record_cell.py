"""Keep two numbers in a cell: fixed windows and token buckets. Knows records, no other cell.

A cell has two records, and its word says which of them counts, so that a new one is written whole
before the old one goes.
"""

from __future__ import annotations

import mmap
from typing import Any, Final

from flask_concurrency.policies.policy import Policy
from flask_concurrency.stores.host.addresses import Address
from flask_concurrency.stores.host.codec import COUNT_AT, Codec
from flask_concurrency.stores.host.evictions import Evictions
from flask_concurrency.stores.host.layout import CONTENT_AT, SLOT, WORD
from flask_concurrency.stores.host.rates import CLOCK_SKEW, MOST_SPENT, RateCell, damaged

RECORDS_AT: Final = (0, CONTENT_AT, CONTENT_AT + SLOT.size)
"""Where in a cell the record is that its word names by 1 or 2."""


class RecordCell(RateCell):
    """The cell of a key whose policy remembers an instant and what is spent.

    :param codec: How its states are written.
    """

    __slots__ = ("_codec",)

    def __init__(
        self, address: Address, codec: Codec, memory: mmap.mmap, evictions: Evictions
    ) -> None:
        super().__init__(address, memory, evictions)
        self._codec = codec

    def read(self, now: float) -> Any:
        """The instant and what is spent; ``None`` for a key that is not there."""
        if not self._here():
            return None
        if self._word > 2:
            raise damaged(f"the record {self._word} of a key")
        state = self._codec.unpack(self._memory, self._cell + RECORDS_AT[self._word])
        if not (state[0] <= now + CLOCK_SKEW and state[1] >= 0):
            raise damaged("a count")
        return state

    def count(self, old: Any, state: Any, policy: Policy) -> None:
        """Replace the record; most requests only add to a window that has begun already."""
        word = self._word
        if self._codec.counts and state[0] == old[0]:
            at = self._cell + RECORDS_AT[word] + COUNT_AT
            WORD.pack_into(self._memory, at, state[1])
            # If the process dies before this, the request is not counted; after it, it is.
        else:
            word = 3 - word
            self._codec.pack(self._memory, self._cell + RECORDS_AT[word], *state)
            # If the process dies here, the record that counts is still the old one.
        self._commit(word, state, policy)

    refund = count

    def _fill(self, state: Any, policy: Policy) -> int:
        self._codec.pack(self._memory, self._cell + RECORDS_AT[1], *state)
        return 1

    def _ends(self, state: Any, policy: Any) -> tuple[int, float]:
        codec = self._codec
        holds = codec.holds(policy)
        spent = min(MOST_SPENT, int(MOST_SPENT * state[1] / holds)) if holds else MOST_SPENT
        return spent, codec.expires_at(state, policy)
