"""How many items a task of a ``map`` takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_concurrency.executors.processes.chunk_sizes import AIM, GROWTH, ChunkSizes


def after(*tasks: float) -> list[int]:
    """The sizes chosen, where an item takes so many seconds in each task."""
    sizes, found = ChunkSizes(), []
    for seconds in tasks:
        found.append(sizes.next)
        sizes.took(sizes.next, sizes.next * seconds)
    return [*found, sizes.next]


def test_short_items_go_together_more_and_more() -> None:
    """Until a task takes what it should."""
    assert after(*[AIM / 100] * 5) == [1, 4, 16, 64, 100, 100]


def test_long_items_go_one_by_one() -> None:
    """As without chunks."""
    assert after(1.0, AIM, AIM * 0.9) == [1, 1, 1, 1]


def test_items_that_become_longer_or_shorter_change_it() -> None:
    """The last task is what the next will be like."""
    assert after(0.0, 0.0, 0.0, AIM / 8, 1.0, 0.0) == [1, 4, 16, 64, 8, 1, 4]


@given(st.integers(1, 10_000), st.floats(0, 1e6))
def test_a_task_has_an_item_and_never_much_more_than_the_last(items: int, seconds: float) -> None:
    """And takes what it should, if items go on as they were."""
    sizes = ChunkSizes()
    sizes.took(items, seconds)
    assert 1 <= sizes.next <= items * GROWTH
    if sizes.next > 1:
        assert sizes.next * seconds / items <= AIM * (1 + 1e-9)
