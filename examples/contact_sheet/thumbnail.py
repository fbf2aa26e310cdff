"""Make one picture small: the task that runs in a worker process, one for each picture.

Decides what a picture must be. Knows neither the sheet nor Flask.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 100_000_000


class PictureRefused(ValueError):
    """The file is no picture that can be shown; the message is short enough for its tile."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture that fits into a square.

    :ivar rgb: ``width * height * 3`` bytes, row by row.
    :ivar original: Width and height of the picture it was made from.
    """

    width: int
    height: int
    rgb: bytes
    original: tuple[int, int]


def thumbnail(content: bytes, side: int) -> Thumbnail:
    """Decode a picture, turn it upright and scale it down.

    :param content: A file as it was uploaded.
    :param side: Pixels that neither width nor height exceed.
    :raises PictureRefused: It is no picture, it is cut off, or it has too many pixels.
    """
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise PictureRefused("has too many pixels") from None
    except (OSError, ValueError, SyntaxError):
        raise PictureRefused("is no picture") from None
    original = picture.size
    if original[0] * original[1] > MAX_PIXELS:  # asked before anything is decoded
        raise PictureRefused("has too many pixels")
    try:
        picture.draft("RGB", (side * 2, side * 2))  # a JPEG is decoded small, which saves most
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError):
        raise PictureRefused("is cut off") from None
    small = ImageOps.contain(upright, (side, side), Image.Resampling.LANCZOS)
    return Thumbnail(*small.size, small.tobytes(), original)
