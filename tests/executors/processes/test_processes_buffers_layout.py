"""Where buffers lie in a block, and how large a block is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_concurrency.executors.processes.shared_memory.layout import (
    ALIGNMENT,
    aligned,
    arrange,
    best_fit,
    block_size,
    extent,
)

LENGTHS = st.lists(st.integers(1, 2**40), max_size=20)
SIZES = st.integers(1, 2**44)


@given(LENGTHS)
def test_buffers_lie_apart_in_order_and_aligned(lengths: list[int]) -> None:
    """None overlaps the next, none begins between two cache lines, and no gap is longer."""
    places = arrange(lengths)
    assert [place.length for place in places] == lengths
    end = 0
    for place in places:
        assert place.at % ALIGNMENT == 0
        assert end <= place.at < end + ALIGNMENT
        end = place.end
    assert extent(places) == end


@given(SIZES)
def test_a_block_suffices_and_wastes_an_eighth_at_most(needed: int) -> None:
    """Above the alignment, below which nothing is worth saving."""
    size = block_size(needed)
    assert needed <= size <= max(aligned(needed), needed + needed // 8 + 1)
    assert block_size(size) == size


@given(SIZES, SIZES)
def test_a_larger_need_never_gets_a_smaller_block(first: int, second: int) -> None:
    """So blocks are as comparable as what they were made for."""
    assert (first <= second) <= (block_size(first) <= block_size(second))


@given(st.lists(SIZES), SIZES)
def test_the_smallest_block_that_suffices_is_chosen(sizes: list[int], needed: int) -> None:
    """Unless even that would lie idle for the most part."""
    found = best_fit(sizes, needed)
    fitting = [size for size in sizes if needed <= size <= 4 * needed]
    assert found == (min(fitting) if fitting else None)
