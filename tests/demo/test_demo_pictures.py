"""Pictures are cut into tiles and come back whole, however they were computed."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from examples.demo import contact_sheet, fractal
from examples.demo.contact_sheet import COLUMNS, ROWS, SHEET_WIDTH, TREATMENTS
from examples.demo.fractal import INSIDE, FractalTile, Region
from examples.demo.tiles import Box, Tile, data_url, grid
from flask import Flask
from PIL import Image

SMALL = "?x=-0.5&y=0&zoom=1&width=48&height=32&iterations=60"


def decoded(url: str) -> Image.Image:
    """The picture in a ``data:`` URL."""
    return Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))


def encoded(photo: Image.Image) -> bytes:
    """The photo as a PNG file."""
    content = io.BytesIO()
    photo.save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(("width", "height"), [(480, 320), (7, 5), (101, 53)])
def test_a_grid_leaves_no_gap_and_no_overlap(width: int, height: int) -> None:
    """Every pixel lies in exactly one box, in sizes that do not divide evenly too."""
    seen = [[0] * width for _ in range(height)]

    for box in grid(width, height, columns=6, rows=4):
        for row in range(box.top, box.top + box.height):
            for column in range(box.left, box.left + box.width):
                seen[row][column] += 1

    assert {count for row in seen for count in row} == {1}


def test_tiles_come_together_in_their_places() -> None:
    """Whatever order they are in."""
    red, blue = (Box(0, 0, 2, 1), b"\xff\0\0" * 2), (Box(2, 0, 1, 1), b"\0\0\xff")
    tiles = [Tile(box, rgb, 1, 0.0, 1.0) for box, rgb in (blue, red)]

    picture = decoded(data_url(tiles))

    assert picture.size == (3, 1)
    assert picture.tobytes() == b"\xff\0\0\xff\0\0\0\0\xff"


def test_the_middle_of_the_set_is_inside_and_its_surroundings_are_not() -> None:
    """The origin never escapes; the corners do at once."""
    region = Region(x=0, y=0, zoom=0.7, width=9, height=9, iterations=50)

    rgb = fractal.compute(FractalTile(region, Box(0, 0, 9, 9))).rgb

    pixels = [rgb[at : at + 3] for at in range(0, len(rgb), 3)]
    assert pixels[4 * 9 + 4] == INSIDE
    assert INSIDE not in {pixels[0], pixels[8], pixels[72], pixels[80]}


def test_tiles_of_a_region_show_what_the_whole_shows() -> None:
    """A tile knows its position in the region."""
    region = Region(x=-0.7, y=0.2, zoom=3, width=12, height=8, iterations=40)
    whole = fractal.compute(FractalTile(region, Box(0, 0, 12, 8)))
    boxes = grid(12, 8, columns=3, rows=2)

    tiles = [fractal.compute(FractalTile(region, box)) for box in boxes]

    assert data_url(tiles) == data_url([whole])


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_every_treatment_fills_its_tile(treatment: str) -> None:
    """And changes the photo, but for the one that leaves it as it is."""
    shade = Image.linear_gradient("L").resize((64, 48))
    photo = Image.merge("RGB", (shade, shade.rotate(180), shade))
    tasks = {task.treatment: task for task in contact_sheet.sheet(photo)}

    tile = contact_sheet.develop(tasks[treatment])

    assert len(tile.rgb) == tile.box.width * tile.box.height * 3
    plain = contact_sheet.develop(tasks["as it is"]).rgb
    assert (tile.rgb == plain) == (treatment == "as it is")


def test_a_sheet_holds_every_treatment_once() -> None:
    """Side by side, as wide as a sheet, each in the photo's proportions."""
    tasks = contact_sheet.sheet(Image.new("RGB", (90, 60)))

    assert [task.treatment for task in tasks] == list(TREATMENTS)
    assert {(task.box.width, task.box.height) for task in tasks} == {(SHEET_WIDTH // COLUMNS, 160)}
    assert len({(task.box.left, task.box.top) for task in tasks}) == COLUMNS * ROWS


def test_a_photo_is_turned_upright() -> None:
    """A camera held sideways says so in the file."""
    photo, exif, content = Image.new("RGB", (40, 20)), Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    photo.save(content, "JPEG", exif=exif)

    assert contact_sheet.working_copy(content.getvalue()).size == (20, 40)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_photos_of_any_mode_can_be_developed(mode: str) -> None:
    """Monochrome, with a palette, transparent, for print."""
    content = io.BytesIO()
    Image.new(mode, (32, 32)).save(content, "JPEG" if mode == "CMYK" else "PNG")

    assert contact_sheet.working_copy(content.getvalue()).mode == "RGB"


@pytest.mark.slow
def test_both_ways_give_the_same_fractal(api_app: Flask) -> None:
    """In one process and on all: the same pixels, every tile computed once."""
    client = api_app.test_client()

    one: Any = client.get(f"/pictures/fractal/in-one-process{SMALL}").json
    all_: Any = client.get(f"/pictures/fractal/on-all-processes{SMALL}").json

    assert one["image"] == all_["image"]
    assert decoded(one["image"]).size == (48, 32)
    assert len(one["tiles"]) == len(all_["tiles"]) == 24
    assert len({tile["process"] for tile in one["tiles"]}) == 1
    assert {t["process"] for t in one["tiles"]}.isdisjoint(t["process"] for t in all_["tiles"])


@pytest.mark.slow
def test_a_killed_worker_leaves_no_hole_in_the_picture(api_app: Flask) -> None:
    """Its tile is computed again; no other one is lost."""
    client = api_app.test_client()

    whole: Any = client.get(f"/pictures/fractal/on-all-processes{SMALL}").json
    killed: Any = client.get(f"/pictures/fractal/with-a-worker-killed{SMALL}").json

    assert killed["image"] == whole["image"]
    assert killed["killed"] in {tile["process"] for tile in killed["tiles"]}
    assert killed["lost"] in (0, 1)


@pytest.mark.slow
def test_both_ways_give_the_same_contact_sheet(api_app: Flask) -> None:
    """Twelve tiles of the photo that was sent."""
    client = api_app.test_client()
    photo = encoded(Image.effect_mandelbrot((48, 32), (-2, -1, 1, 1), 60).convert("RGB"))
    answers: list[Any] = [
        client.post(f"/pictures/contact-sheet/{way}", data={"photo": (io.BytesIO(photo), "p.png")})
        for way in ("in-one-process", "on-all-processes")
    ]

    one, all_ = (answer.json for answer in answers)

    assert one["image"] == all_["image"]
    assert len(one["tiles"]) == len(all_["tiles"]) == 12
