"""Develop a photo in twelve ways, one a tile: a contact sheet.

Decides what an upload must be and what the ways are; knows neither route nor process pool.
"""

from __future__ import annotations

import io
import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from examples.demo.tiles import Box, Tile
from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError

COLUMNS, ROWS = 4, 3
WORKING_SIZE = 900
"""Pixels of the longer side that the treatments work on."""
SHEET_WIDTH = 960
MAX_PIXELS = 50_000_000
MIN_SIDE = 16
MAX_RATIO = 8


class PhotoRefused(ValueError):
    """The upload is no photo we can use; the message may be shown to the visitor."""


@dataclass(frozen=True, slots=True)
class PhotoTile:
    """One task: a photo, one way to treat it, and the box to fit it in.

    :ivar photo: The photo, encoded, no larger than ``WORKING_SIZE``.
    """

    photo: bytes
    treatment: str
    box: Box


def working_copy(upload: bytes) -> Image.Image:
    """Decode an upload, upright and not larger than what the treatments work on.

    :raises PhotoRefused: It is empty, no image, damaged, or has too many or too few pixels.
    """
    if not upload:
        raise PhotoRefused("The upload is empty: choose a photo.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own bound below is the stricter one
            opened = Image.open(io.BytesIO(upload), formats=("JPEG", "PNG", "WEBP", "GIF", "BMP"))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        raise PhotoRefused("The upload is no image: send JPEG, PNG, WebP, GIF or BMP.") from None
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise PhotoRefused(f"{width} × {height} pixels are too many: at most 50 million.")
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_RATIO * min(width, height):
        raise PhotoRefused(f"{width} × {height} pixels make no photo: the shape is too narrow.")
    try:
        opened.draft("RGB", (WORKING_SIZE, WORKING_SIZE))
        photo = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError):
        raise PhotoRefused("The image is damaged or cut off: choose another one.") from None
    photo.thumbnail((WORKING_SIZE, WORKING_SIZE))
    return photo


def sheet(photo: Image.Image) -> list[PhotoTile]:
    """Cut the sheet: one task a treatment, ``SHEET_WIDTH`` pixels wide together."""
    width = SHEET_WIDTH // COLUMNS
    height = max(1, round(width * photo.height / photo.width))
    encoded = io.BytesIO()
    photo.save(encoded, "JPEG", quality=92)
    boxes = [Box(c * width, r * height, width, height) for r in range(ROWS) for c in range(COLUMNS)]
    return [
        PhotoTile(encoded.getvalue(), treatment, box)
        for treatment, box in zip(TREATMENTS, boxes, strict=True)
    ]


def develop(task: PhotoTile) -> Tile:
    """Take the grain out, treat the photo and scale it into its box."""
    started_at = time.monotonic()
    photo = Image.open(io.BytesIO(task.photo)).convert("RGB").filter(ImageFilter.MedianFilter(5))
    treated = TREATMENTS[task.treatment](photo).convert("RGB")
    size = (task.box.width, task.box.height)
    rgb = treated.resize(size, Image.Resampling.LANCZOS).tobytes()
    return Tile(task.box, rgb, os.getpid(), started_at, time.monotonic())


def _toned(dark: str, light: str) -> Callable[[Image.Image], Image.Image]:
    return lambda photo: ImageOps.colorize(photo.convert("L"), dark, light)


def _filtered(
    treatment: ImageFilter.Filter | type[ImageFilter.Filter],
) -> Callable[..., Image.Image]:
    return lambda photo: photo.filter(treatment)


TREATMENTS: Mapping[str, Callable[[Image.Image], Image.Image]] = MappingProxyType(
    {
        "as it is": lambda photo: photo,
        "monochrome": lambda photo: ImageOps.autocontrast(photo.convert("L")),
        "sepia": _toned("#1c1208", "#f3e2c0"),
        "cyanotype": _toned("#06233f", "#e8f1f5"),
        "negative": ImageOps.invert,
        "poster": lambda photo: ImageOps.posterize(photo, 2),
        "solarised": lambda photo: ImageOps.solarize(photo, 110),
        "oil paint": _filtered(ImageFilter.ModeFilter(9)),
        "soft focus": lambda photo: Image.blend(
            photo, photo.filter(ImageFilter.GaussianBlur(12)), 0.6
        ),
        "crisp": _filtered(ImageFilter.UnsharpMask(6, 220)),
        "pencil": lambda photo: ImageOps.invert(
            ImageOps.autocontrast(photo.convert("L").filter(ImageFilter.FIND_EDGES), 2)
        ),
        "relief": _filtered(ImageFilter.EMBOSS),
    }
)
