"""Compute one tile of the Mandelbrot set, in plain Python so that it keeps a processor busy.

Decides what the picture shows; knows neither the other tiles nor where it runs.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from math import cos, log, pi

from examples.demo.tiles import Box, Tile

INSIDE = bytes((11, 18, 32))
SHADES = 256
ESCAPED = 64.0
"""Squared distance from where on a point counts as escaped; far out, so that shades are smooth."""


@dataclass(frozen=True, slots=True)
class Region:
    """Which part of the plane to show, and how finely.

    :ivar x: Centre, on the real axis; ``y`` on the imaginary one.
    :ivar zoom: Magnification; ``1.0`` shows the whole set.
    :ivar width: Pixels, likewise ``height``.
    :ivar iterations: Steps after which a point counts as inside.
    """

    x: float
    y: float
    zoom: float
    width: int
    height: int
    iterations: int


@dataclass(frozen=True, slots=True)
class FractalTile:
    """One task: a box of a region."""

    region: Region
    box: Box


def compute(task: FractalTile) -> Tile:
    """Compute the tile's pixels."""
    started_at = time.monotonic()
    region, box = task.region, task.box
    pixel = 3.0 / region.zoom / min(region.width, region.height)
    left = region.x + (box.left - region.width / 2) * pixel
    top = region.y - (box.top - region.height / 2) * pixel
    rgb = bytearray()
    for row in range(box.height):
        y = top - row * pixel
        for column in range(box.width):
            rgb += _colour(complex(left + column * pixel, y), region.iterations)
    return Tile(box, bytes(rgb), os.getpid(), started_at, time.monotonic())


def _colour(point: complex, iterations: int) -> bytes:
    z = 0j
    for step in range(iterations):
        z = z * z + point
        distance = z.real * z.real + z.imag * z.imag
        if distance > ESCAPED:
            # Whole steps would show as bands; this is the fraction between two of them.
            smooth = step + 1 - log(log(distance) / log(ESCAPED)) / log(2)
            return PALETTE[int(smooth * 6) % SHADES]
    return INSIDE


def _shade(position: float) -> bytes:
    """A colour of a closed circle from deep blue over teal and sand back, ``0 ≤ position < 1``."""
    phases = ((0.50, 0.42, 0.62), (0.50, 0.38, 0.50), (0.50, 0.32, 0.38))
    return bytes(
        round(255 * max(0.0, min(1.0, base + swing * cos(2 * pi * (position - phase)))))
        for base, swing, phase in phases
    )


PALETTE = [_shade(index / SHADES) for index in range(SHADES)]
