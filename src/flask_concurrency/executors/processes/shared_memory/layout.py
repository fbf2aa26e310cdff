"""Decide where large buffers lie in a block of memory, and how large a block is made for them.

Arithmetic only: knows no memory, no pickle and no process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

ALIGNMENT: Final = 64
"""Bytes: a cache line, and more than any element type or vector instruction asks for."""

_STEPS: Final = 8
"""Sizes of blocks between two powers of two: at most an eighth of a block lies idle, and buffers
of about the same size find one another's blocks to fit."""


class Place(NamedTuple):
    """Where a buffer lies in its block, in bytes."""

    at: int
    length: int

    @property
    def end(self) -> int:
        """Where the next one may begin, but for its alignment."""
        return self.at + self.length


def aligned(position: int) -> int:
    """Return the first position from here on at which a buffer may begin."""
    return -(-position // ALIGNMENT) * ALIGNMENT


def arrange(lengths: Iterable[int]) -> list[Place]:
    """Lay buffers behind one another, each aligned."""
    places: list[Place] = []
    position = 0
    for length in lengths:
        places.append(Place(position, length))
        position = aligned(places[-1].end)
    return places


def extent(places: Sequence[Place]) -> int:
    """Return the bytes a block needs at least."""
    return places[-1].end if places else 0


def block_size(needed: int) -> int:
    """Return the size of the block to be made for so many bytes."""
    step = max(ALIGNMENT, (1 << max(0, needed - 1).bit_length()) // (2 * _STEPS))
    return -(-needed // step) * step


def best_fit(sizes: Iterable[int], needed: int) -> int | None:
    """Return the smallest of the sizes that suffices, unless most of it would lie idle.

    :returns: ``None`` if there is none that is not more than four times too large.
    """
    return min((size for size in sizes if needed <= size <= 4 * needed), default=None)
