"""Lay tiles out on a sheet. Decides how it looks; knows no task and no request."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from .thumbnail import Thumbnail

SIDE = 240
"""Pixels of a thumbnail's longer side."""
GAP, MARGIN, CAPTION, TITLE = 28, 48, 62, 92
COLUMNS = (4, 5, 6)

PAPER, WELL, INK, FAINT = "#15161a", "#1e2026", "#eceae4", "#8d9099"
BROKEN, BROKEN_WELL = "#f0876e", "#2a1d1e"


@dataclass(frozen=True, slots=True)
class Tile:
    """One place on the sheet.

    :ivar name: What the picture is called.
    :ivar picture: The picture, or why there is none, in a few words.
    """

    name: str
    picture: Thumbnail | str


def draw_sheet(tiles: Sequence[Tile], title: str) -> bytes:
    """Draw at least one tile, row by row.

    :returns: A PNG file.
    """
    columns = min(len(tiles), _best_columns(len(tiles)))
    rows = -(-len(tiles) // columns)
    width = 2 * MARGIN + columns * (SIDE + GAP) - GAP
    height = MARGIN + TITLE + rows * (SIDE + CAPTION + GAP) - GAP + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, INK, _font(34))
    draw.text((MARGIN, MARGIN + 46), _summary(tiles), FAINT, _font(17))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        left = MARGIN + column * (SIDE + GAP)
        top = MARGIN + TITLE + row * (SIDE + CAPTION + GAP)
        _draw_tile(sheet, draw, tile, left, top)
    png = io.BytesIO()
    sheet.save(png, "PNG")
    return png.getvalue()


def _draw_tile(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, left: int, top: int
) -> None:
    right, bottom = left + SIDE - 1, top + SIDE - 1
    if isinstance(tile.picture, Thumbnail):
        draw.rounded_rectangle((left, top, right, bottom), 6, WELL)
        picture = Image.frombytes(
            "RGB", (tile.picture.width, tile.picture.height), tile.picture.rgb
        )
        sheet.paste(
            picture, (left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2)
        )
        note, colour = "{} x {}".format(*tile.picture.original), FAINT
    else:
        draw.rounded_rectangle((left, top, right, bottom), 6, BROKEN_WELL, BROKEN, 2)
        middle, arm = (left + SIDE // 2, top + SIDE // 2), 26
        for slope in (1, -1):
            ends = [(middle[0] + side * arm, middle[1] + slope * side * arm) for side in (-1, 1)]
            draw.line(ends, BROKEN, 5)
        note, colour = tile.picture, BROKEN
    draw.text((left, bottom + 11), _shortened(tile.name, _font(17)), INK, _font(17))
    draw.text((left, bottom + 35), _shortened(note, _font(14)), colour, _font(14))


def _best_columns(tiles: int) -> int:
    """How many columns leave the fewest empty places in the last row."""
    return min(COLUMNS, key=lambda columns: -tiles % columns)


def _summary(tiles: Sequence[Tile]) -> str:
    shown = sum(isinstance(tile.picture, Thumbnail) for tile in tiles)
    words = f"{shown} {'picture' if shown == 1 else 'pictures'}"
    return words if shown == len(tiles) else f"{words}, {len(tiles) - shown} could not be shown"


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Cut a text in its middle until it fits below a tile: beginning and ending tell most."""
    kept = text.encode("ascii", "replace").decode()  # the font knows nothing else
    while font.getlength(kept) > SIDE:
        middle = len(kept) // 2
        kept = kept[: middle - 2] + "..." + kept[middle + 2 :]
    return kept


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)  # it comes with Pillow, so a server needs none
