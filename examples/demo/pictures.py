"""Chapter 3, processes: a picture computed in tiles, in one process or on all of them.

Decides what a visitor may ask for; what a tile shows is computed elsewhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from examples.demo.contact_sheet import PhotoRefused, PhotoTile, develop, sheet, working_copy
from examples.demo.extension import concurrency
from examples.demo.fractal import FractalTile, Region, compute
from examples.demo.killing import Killing
from examples.demo.parameters import number, whole_number
from examples.demo.tiles import Tile, data_url, grid
from flask import Blueprint, request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

Task = TypeVar("Task")
Answer = dict[str, Any]
MapFunction = Callable[..., Iterable[Any]]

COLUMNS, ROWS = 6, 4
MAX_STEPS = 200_000_000
"""Pixels times iterations of a picture: what one processor does in half a minute at worst."""

pictures = Blueprint("pictures", __name__, url_prefix="/pictures")


@pictures.get("/fractal/in-one-process")
@concurrency.limit("2 in flight")
def fractal_in_one_process() -> Answer:
    return drawn(map, compute, region_tiles())


@pictures.get("/fractal/on-all-processes")
@concurrency.limit("2 in flight")
def fractal_on_all_processes() -> Answer:
    return drawn(concurrency.processes.map, compute, region_tiles())


@pictures.get("/fractal/with-a-worker-killed")
@concurrency.limit("2 in flight")
def fractal_with_a_worker_killed() -> Answer:
    killing = Killing()
    answer = drawn(killing.map, compute, region_tiles())
    return answer | {"killed": killing.killed, "lost": killing.lost}


@pictures.post("/contact-sheet/in-one-process")
@concurrency.limit("2 in flight")
def contact_sheet_in_one_process() -> Answer:
    return drawn(map, develop, photo_tiles())


@pictures.post("/contact-sheet/on-all-processes")
@concurrency.limit("2 in flight")
def contact_sheet_on_all_processes() -> Answer:
    return drawn(concurrency.processes.map, develop, photo_tiles())


def drawn(run: MapFunction, compute: Callable[[Task], Tile], tasks: list[Task]) -> Answer:
    """Compute all tiles with ``run`` and report the picture, and how long each tile took.

    :returns: ``seconds`` is for the tiles; ``starting`` is what it took before that to have
        the processes ready, which only the first request notices.
    """
    asked_at = time.monotonic()
    list(run(abs, range(os.cpu_count() or 1)))
    started_at = time.monotonic()
    tiles = list(run(compute, tasks))
    seconds = time.monotonic() - started_at
    return {
        "image": data_url(tiles),
        "seconds": seconds,
        "starting": started_at - asked_at,
        "tiles": [tile.report(started_at) for tile in tiles],
    }


def region_tiles() -> list[FractalTile]:
    """Read the region from the query and cut it.

    :raises BadRequest: A number is out of bounds, or all together make too much work.
    """
    region = Region(
        x=number("x", default=-0.7435669, least=-3, most=3),
        y=number("y", default=0.1314023, least=-3, most=3),
        zoom=number("zoom", default=900, least=0.5, most=1e12),
        width=whole_number("width", default=480, least=24, most=1200),
        height=whole_number("height", default=320, least=24, most=1200),
        iterations=whole_number("iterations", default=500, least=1, most=5000),
    )
    steps = region.width * region.height * region.iterations
    if steps > MAX_STEPS:
        raise BadRequest(
            f"{region.width} × {region.height} pixels with {region.iterations} iterations may "
            f"take {steps / 1e6:.0f} million steps, and {MAX_STEPS / 1e6:.0f} million are the "
            "most: choose a smaller picture or fewer iterations."
        )
    boxes = grid(region.width, region.height, columns=COLUMNS, rows=ROWS)
    return [FractalTile(region, box) for box in boxes]


def photo_tiles() -> list[PhotoTile]:
    """Read the uploaded photo and cut its sheet.

    :raises BadRequest: There is no file, or it is empty.
    :raises UnsupportedMediaType: It is no image we can use.
    """
    upload = request.files.get("photo")
    content = b"" if upload is None else upload.read()
    if not content:
        raise BadRequest("The upload is empty: choose a photo.")
    try:
        return sheet(working_copy(content))
    except PhotoRefused as refused:
        raise UnsupportedMediaType(str(refused)) from None
