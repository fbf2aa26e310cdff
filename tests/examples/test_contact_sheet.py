"""Every picture has a tile in its place, and a broken one spoils no other."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from flask import Flask
from PIL import Image
from werkzeug.test import TestResponse

from flask_concurrency import InFlight, TaskResult, WorkerDied, WorkerOutOfMemory

RED, GREEN, BLUE = (210, 40, 30), (30, 160, 60), (40, 60, 200)
Load = Callable[[str], Flask]


@pytest.fixture
def app(load_example: Load) -> Flask:
    """The example, freshly loaded."""
    return load_example("contact_sheet/app")


@pytest.fixture
def part(app: Flask) -> Callable[[str], ModuleType]:
    """``part("sheet")`` gives a module of the example."""
    return lambda name: import_module(f"contact_sheet.{name}")


@pytest.fixture
def tiles(part: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The tiles of the last sheet, once it is drawn."""
    drawn: list[Any] = []
    module = part("app")
    draw = module.draw_sheet

    def noticed(tiles: list[Any], title: str) -> bytes:
        drawn[:] = tiles
        png: bytes = draw(tiles, title)
        return png

    monkeypatch.setattr(module, "draw_sheet", noticed)
    return drawn


def encoded(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """A picture as a file."""
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (60, 40)) -> bytes:
    """A picture of one colour, as a file."""
    return encoded(Image.new("RGB", size, colour))


def send(app: Flask, *pictures: bytes) -> TestResponse:
    """Ask for the sheet of these files."""
    files = [(io.BytesIO(content), f"{number}.png") for number, content in enumerate(pictures)]
    return app.test_client().post("/sheet.png", data={"pictures": files})


@pytest.mark.slow
def test_pictures_are_on_the_sheet_in_the_order_sent(
    app: Flask, part: Callable[[str], ModuleType]
) -> None:
    """Whichever worker was faster."""
    sheet = part("sheet")

    answer = send(app, plain(RED), plain(GREEN), plain(BLUE))

    assert answer.mimetype == "image/png"
    drawn = Image.open(io.BytesIO(answer.data)).convert("RGB")
    for column, colour in enumerate((RED, GREEN, BLUE)):
        x = sheet.MARGIN + column * (sheet.SIDE + sheet.GAP) + sheet.SIDE // 2
        assert drawn.getpixel((x, sheet.MARGIN + sheet.TITLE + sheet.SIDE // 2)) == colour


@pytest.mark.slow
def test_a_broken_picture_has_a_tile_that_says_why(app: Flask, tiles: list[Any]) -> None:
    """And all others are shown."""
    noise = encoded(Image.effect_noise((200, 200), 90), "JPEG")

    answer = send(app, plain(RED), b"no picture", noise[: len(noise) // 2], plain(BLUE))

    assert answer.status_code == 200
    assert [tile.name for tile in tiles] == ["0.png", "1.png", "2.png", "3.png"]
    first, *broken, last = [tile.picture for tile in tiles]
    assert broken == ["is no picture", "is cut off"]
    assert (first.rgb[:3], last.rgb[:3]) == (bytes(RED), bytes(BLUE))


@pytest.mark.slow
def test_a_small_file_of_very_many_pixels_is_never_decoded(app: Flask, tiles: list[Any]) -> None:
    """It says how large it is before it takes any memory."""
    bomb = encoded(Image.new("1", (12_000, 12_000)), "PNG")

    send(app, bomb, plain(RED))

    assert len(bomb) < 100_000
    assert tiles[0].picture == "has too many pixels"
    assert tiles[1].picture.rgb[:3] == bytes(RED)


@pytest.mark.slow
def test_pictures_that_are_not_ready_in_time_are_left_out(
    app: Flask,
    part: Callable[[str], ModuleType],
    tiles: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is a sheet all the same."""
    monkeypatch.setattr(part("app"), "SECONDS_FOR_PICTURES", 0.0)

    assert send(app, plain(RED), plain(BLUE)).status_code == 200
    assert [tile.picture for tile in tiles] == ["was not ready in time"] * 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (WorkerOutOfMemory("more than 1 GiB"), "took too much memory"),
        (WorkerDied("killed", exitcode=-9), "cannot be shown"),
        (RuntimeError("a bug"), "cannot be shown"),
    ],
)
def test_what_is_not_the_pictures_fault_is_logged(
    part: Callable[[str], ModuleType],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    told: str,
) -> None:
    """The tile says little, the log has the traceback."""
    result = TaskResult("thumbnail", "failed", error=error)

    assert part("app").reason("harbour.jpg", result) == told
    [record] = caplog.records
    assert "harbour.jpg" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_a_photo_taken_sideways_is_shown_upright(part: Callable[[str], ModuleType]) -> None:
    """The camera notes how it was held."""
    photo = Image.new("RGB", (400, 200), RED)
    photo.paste(BLUE, (0, 0, 200, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right: its left side is the bottom of what was seen

    small = part("thumbnail").thumbnail(encoded(photo, "PNG", exif=exif), 100)

    assert (small.width, small.height, small.original) == (50, 100, (400, 200))
    assert (small.rgb[:3], small.rgb[-3:]) == (bytes(BLUE), bytes(RED))


@pytest.mark.parametrize("size", [(1, 1), (10, 900), (900, 10), (240, 240), (241, 300)])
def test_every_shape_fits_its_square(
    part: Callable[[str], ModuleType], size: tuple[int, int]
) -> None:
    """One side fills it, none exceeds it."""
    small = part("thumbnail").thumbnail(plain(GREEN, size), 240)

    assert max(small.width, small.height) == 240
    assert min(small.width, small.height) >= 1
    assert len(small.rgb) == small.width * small.height * 3


@pytest.mark.parametrize("number", [0, 61])
def test_no_picture_and_too_many_are_refused(app: Flask, number: int) -> None:
    """And it is said how many may be sent."""
    answer = send(app, *[b"never opened"] * number)

    assert answer.status_code == 400
    assert "1 to 60 pictures" in answer.text
    assert f"not {number}" in answer.text


@pytest.mark.slow
def test_a_third_sheet_is_refused_where_it_cannot_wait(
    load_example: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one thread in the server no request may wait in it."""
    monkeypatch.setenv("FLASK_CONCURRENCY_SERVER_THREADS", "1")
    app = load_example("contact_sheet/app")
    concurrency = import_module("contact_sheet.app").concurrency
    place = concurrency.limit(InFlight(2), name="sheets")

    with app.test_request_context("/"), place, place:
        refused = send(app, plain(RED))
        page = app.test_client().get("/")

    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) in range(1, 4)
    assert "Make a contact sheet" in page.text
    assert send(app, plain(RED)).status_code == 200


@pytest.mark.slow
def test_the_samples_are_pictures_but_for_two(
    app: Flask, part: Callable[[str], ModuleType], tiles: list[Any]
) -> None:
    """So that a visitor sees what becomes of a broken one."""
    part("samples").sample_pictures()  # painted before the clock runs

    answer = app.test_client().get("/samples.png")

    assert answer.status_code == 200
    assert len(tiles) == 16
    assert [tile.name for tile in tiles if isinstance(tile.picture, str)] == [
        "half an upload.jpg",
        "notes.txt.png",
    ]


@pytest.mark.parametrize(
    ("tiles", "columns"), [(1, 1), (3, 3), (4, 4), (7, 4), (10, 5), (16, 4), (17, 6), (13, 5)]
)
def test_the_last_row_is_as_full_as_can_be(
    part: Callable[[str], ModuleType], tiles: int, columns: int
) -> None:
    """Few pictures make one row."""
    sheet = part("sheet")

    png = sheet.draw_sheet([sheet.Tile("x" * 90, "is no picture")] * tiles, "Contact sheet")

    width = Image.open(io.BytesIO(png)).width
    assert width == 2 * sheet.MARGIN + columns * (sheet.SIDE + sheet.GAP) - sheet.GAP
