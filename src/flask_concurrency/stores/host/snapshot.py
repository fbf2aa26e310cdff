"""List for people what is in a file. Knows where things are; changes nothing and locks nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flask_concurrency.stores.host.header import DamagedFile
from flask_concurrency.stores.host.layout import (
    BUCKET,
    DIGESTS,
    HEADS,
    LINE,
    LINES_AT,
    LINES_USED_AT,
    WORD,
)
from flask_concurrency.stores.host.transactions import Transactions


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a host store holds at one moment; others go on counting while it is taken.

    :ivar path: The file.
    :ivar size: Bytes of it.
    :ivar keys: Keys whose rates are remembered and count.
    :ivar capacity: Keys whose rates can be remembered.
    :ivar evictions: Keys forgotten before their time because their bucket was full.
    :ivar processes: Ids of the processes that have the file open, this one included.
    :ivar in_flight: Units that living processes hold, over all keys.
    """

    path: Path
    size: int
    keys: int
    capacity: int
    evictions: int
    processes: tuple[int, ...]
    in_flight: int


def snapshot_of(transactions: Transactions, now: float) -> Snapshot:
    """Look at everything once; it takes some milliseconds."""
    memory = transactions.file.memory
    geometry = transactions.file.header.geometry
    (used,) = WORD.unpack_from(memory, LINES_USED_AT)
    if used > geometry.lines:
        raise DamagedFile(f"it says that {used:,} processes have it open")
    alive = [
        line
        for line in range(used)
        if line == transactions.file.line or transactions.file.locks.alive(line)
    ]
    return Snapshot(
        path=transactions.file.path,
        size=geometry.size,
        keys=sum(_keys(transactions, start, now) for start in _buckets(transactions)),
        capacity=geometry.capacity,
        evictions=transactions.evictions.total(),
        processes=tuple(LINE.unpack_from(memory, LINES_AT + n * LINE.size)[0] for n in alive),
        in_flight=sum(map(transactions.in_flight.units_of, alive)),
    )


def _buckets(transactions: Transactions) -> range:
    geometry = transactions.file.header.geometry
    return range(geometry.rates_at, geometry.in_flight_at, BUCKET)


def _keys(transactions: Transactions, start: int, now: float) -> int:
    cells = transactions.file.memory[start + DIGESTS : start + BUCKET]
    return sum(word > 0 and expires_at > now for word, _, expires_at in HEADS.iter_unpack(cells))
