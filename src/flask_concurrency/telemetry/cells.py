"""Keep named numbers side by side, so that who knows where one is adds to it in one step.

Knows names and numbers; knows neither files nor processes.
"""

from __future__ import annotations

from collections.abc import Hashable, MutableMapping
from typing import Any, Final, Protocol

from flask_concurrency.telemetry.names import Name, Series

MOST_NAMES: Final = 8_192
"""Names that a process keeps in its memory at most."""


class Cells(Protocol):
    """Numbers, and where those of each name are. A place never changes.

    :ivar cells: The numbers.
    :ivar series: Where those of each name are.
    :ivar places: For those that count the same again and again: where that is. It goes with the
        cells, so that no place of other cells is ever taken for one of these.
    """

    @property
    def cells(self) -> Any:  # a list, or a view of memory
        ...

    @property
    def series(self) -> dict[Name, Series]: ...

    @property
    def places(self) -> MutableMapping[Hashable, Any]: ...

    def register(self, name: Name, width: int = 1) -> Series | None:
        """The cells of a name, which it gets now if it has none; ``None`` if all are full."""
        ...


class CellsInMemory:
    """Numbers that only this process sees, and that go with it."""

    def __init__(self) -> None:
        self.cells: list[int] = []
        self.series: dict[Name, Series] = {}
        self.places: dict[Hashable, Any] = {}

    def register(self, name: Name, width: int = 1) -> Series | None:
        """The cells of a name, which it gets now if it has none; ``None`` if all are full."""
        found = self.series.get(name)
        if found is None and len(self.series) < MOST_NAMES:
            found = self.series[name] = Series(len(self.cells), width)
            self.cells.extend([0] * width)
        return found

    def totals(self) -> dict[Name, tuple[int, ...]]:
        """The numbers of each name."""
        return {
            name: tuple(self.cells[first : first + width])
            for name, (first, width) in self.series.items()
        }
