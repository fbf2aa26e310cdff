"""Choose how many items a task of a ``map`` takes, from how long tasks took. Arithmetic alone."""

from __future__ import annotations

from typing import Final

AIM: Final = 0.005
"""Seconds that a task should take: a hundred times what sending it does (``bench processes-many``),
and so little that the workers end at about the same time."""

GROWTH: Final = 4
"""How many times more items the next task may take."""


class ChunkSizes:
    """The sizes of the chunks of one ``map``.

    :ivar next: Items that the next task takes; 1 at first.
    """

    def __init__(self) -> None:
        self.next = 1

    def took(self, items: int, seconds: float) -> None:
        """Learn how long a task has computed.

        :param items: How many it had.
        :param seconds: Of the worker's own clock.
        """
        most = items * GROWTH
        fitting = most if seconds * GROWTH <= AIM else int(items * AIM / seconds)
        self.next = max(1, min(most, fitting))
