"""Paint the pictures that are shown before a visitor uploads some. Knows no sheet.

Landscapes of ridges in mist, each from a seed and a few colours; and two files that are none.
"""

from __future__ import annotations

import io
from functools import cache
from math import sin
from random import Random

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

HOURS = {  # the sky above, the sky at the horizon, the mist, the nearest ridge, the sun
    "dawn": ("#35477d", "#f6b8a0", "#c98fa0", "#1f2440", "#ffe3c2"),
    "morning": ("#6fa8d6", "#fbe7c6", "#a9c3cf", "#1d3a40", "#fffbe8"),
    "noon": ("#2f7fc1", "#cfe8f3", "#9cc3cf", "#16402f", "#ffffff"),
    "golden hour": ("#7d6a9a", "#ffcf7a", "#e59a62", "#3a1f2b", "#fff1c4"),
    "dusk": ("#251c4a", "#e0607e", "#8c4a7c", "#140f2b", "#ffb48a"),
    "night": ("#070b1d", "#24406b", "#1d3156", "#04060f", "#e9efff"),
}
SHAPES = {"wide": (900, 600), "tall": (600, 900), "square": (720, 720)}
RIDGES = 6


@cache
def sample_pictures() -> tuple[tuple[str, bytes], ...]:
    """Sixteen files: name and content. Painted once, at the first call."""
    kinds = [(hour, shape) for hour in HOURS for shape in SHAPES][:14]
    files = [
        (f"{hour} {shape}.jpg", paint(hour, SHAPES[shape], seed))
        for seed, (hour, shape) in enumerate(kinds)
    ]
    whole = files[0][1]
    files.insert(5, ("half an upload.jpg", whole[: len(whole) // 2]))
    files.insert(10, ("notes.txt.png", b"Buy film, then wait for light."))
    return tuple(files)


def paint(hour: str, size: tuple[int, int], seed: int) -> bytes:
    """Paint a landscape.

    :param hour: One of :data:`HOURS`.
    :param seed: The same seed gives the same ridges.
    :returns: A JPEG file.
    """
    random = Random(seed)
    above, horizon, mist, near, sun = HOURS[hour]
    width, height = size
    down = Image.linear_gradient("L").resize(size)
    picture = Image.composite(
        Image.new("RGB", size, horizon), Image.new("RGB", size, above), down.point(_steep)
    )
    centre = (width * random.uniform(0.25, 0.75), height * random.uniform(0.22, 0.42))
    picture = _shine(picture, sun, centre, radius=min(size) * 0.05)
    for ridge in range(RIDGES):
        nearness = ridge / (RIDGES - 1)
        crest = height * (0.46 + 0.42 * nearness**1.25)
        outline = _ridge(random, width, crest, height * (0.06 + 0.07 * nearness))
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).polygon(
            [*outline, (width, height), (0, height)], fill=195 + round(60 * nearness)
        )
        picture.paste(_blended(mist, near, nearness), mask=mask)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=88)
    return jpeg.getvalue()


def _blended(far: str, near: str, nearness: float) -> tuple[int, ...]:
    colours = zip(ImageColor.getrgb(far), ImageColor.getrgb(near), strict=True)
    return tuple(round(a + (b - a) * nearness) for a, b in colours)


def _steep(value: int) -> int:
    """Most of the change of colour lies above the horizon."""
    return min(255, round(value * 1.7))


def _shine(
    picture: Image.Image, colour: str, centre: tuple[float, float], radius: float
) -> Image.Image:
    """Add a sun, and the light around it."""
    light = Image.new("L", picture.size)
    for reach, strength, blur in ((7.0, 46, 3.5), (3.2, 70, 1.6), (1.0, 255, 0.03)):
        around = Image.new("L", picture.size)
        ImageDraw.Draw(around).circle(centre, radius * reach, fill=strength)
        light = ImageChops.lighter(light, around.filter(ImageFilter.GaussianBlur(radius * blur)))
    return Image.composite(Image.new("RGB", picture.size, colour), picture, light)


def _ridge(random: Random, width: int, crest: float, rise: float) -> list[tuple[float, float]]:
    """A line of hills: a few waves, each half as high and twice as dense as the last."""
    waves = [
        (rise / 2**octave, 2**octave * random.uniform(2.0, 3.2) / width, random.uniform(0, 6.3))
        for octave in range(7)
    ]
    return [
        (x, crest - sum(high * sin(dense * x + phase) for high, dense, phase in waves))
        for x in range(0, width + 4, 4)
    ]
