"""Cut a picture into tiles and put computed tiles together. Knows not what they show."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image


@dataclass(frozen=True, slots=True)
class Box:
    """A tile's place in the picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Tile:
    """One computed part of a picture.

    :ivar rgb: ``width * height * 3`` bytes, row by row.
    :ivar process: Id of the process that computed it.
    :ivar started_at: Seconds on the machine's monotonic clock; likewise ``ended_at``.
    """

    box: Box
    rgb: bytes
    process: int
    started_at: float
    ended_at: float

    def report(self, since: float) -> dict[str, Any]:
        """Everything but the pixels, with times counted from the instant ``since``."""
        return asdict(self.box) | {
            "process": self.process,
            "started": self.started_at - since,
            "ended": self.ended_at - since,
        }


def grid(width: int, height: int, *, columns: int, rows: int) -> Iterator[Box]:
    """Cut a picture of ``width`` by ``height`` pixels, row by row, without gap or overlap."""
    for row in range(rows):
        top, bottom = height * row // rows, height * (row + 1) // rows
        for column in range(columns):
            left, right = width * column // columns, width * (column + 1) // columns
            yield Box(left, top, right - left, bottom - top)


def data_url(tiles: Sequence[Tile]) -> str:
    """The picture that the tiles make together, as a PNG in a ``data:`` URL."""
    width = max(tile.box.left + tile.box.width for tile in tiles)
    height = max(tile.box.top + tile.box.height for tile in tiles)
    picture = Image.new("RGB", (width, height))
    for tile in tiles:
        part = Image.frombytes("RGB", (tile.box.width, tile.box.height), tile.rgb)
        picture.paste(part, (tile.box.left, tile.box.top))
    png = io.BytesIO()
    picture.save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
