"""A contact sheet of uploaded pictures: each is made small in a worker process.

Run it with ``flask --app examples/contact_sheet/app concurrency serve``, look at
http://127.0.0.1:8000, or send pictures from a shell::

    curl -F pictures=@harbour.jpg -F pictures=@hills.jpg -o sheet.png http://127.0.0.1:8000/sheet.png

Two sheets are made at once, eight clients wait, others come later: that is what bounds the memory.
A sheet has twenty seconds. A picture that is broken, takes too long or ends its worker has a tile
which says so, and all others are shown.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flask import Flask, Response, abort, render_template, request

from flask_concurrency import Concurrency, InFlight, TaskResult, WorkerOutOfMemory

from .samples import sample_pictures
from .sheet import SIDE, Tile, draw_sheet
from .thumbnail import PictureRefused, thumbnail

MAX_PICTURES = 60
SECONDS, SECONDS_FOR_PICTURES = 20.0, 16.0
"""For an answer, and of these for the pictures: drawing the sheet takes some, too."""

logger = logging.getLogger(__name__)

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 200_000_000
app.config["CONCURRENCY_PROCESSES"] = {
    "max_memory": "1GiB",  # for the picture that a worker has in hand
    "max_tasks_per_worker": 1000,  # whatever a picture leaks is gone in the end
}
concurrency = Concurrency(app)
sheets = concurrency.limit(InFlight(2, max_queue=8, max_wait=5.0), name="sheets")


@app.get("/")
def index() -> str:
    """A page with a form, and the sheet of the sample pictures."""
    return render_template("page.html", most=MAX_PICTURES)


@app.post("/sheet.png")
@sheets
@concurrency.deadline(SECONDS)
def uploaded() -> Response:
    """The sheet of the files in the form's field ``pictures``."""
    files = [file for file in request.files.getlist("pictures") if file.filename]
    if not 1 <= len(files) <= MAX_PICTURES:
        abort(400, f"Send 1 to {MAX_PICTURES} pictures in the field 'pictures', not {len(files)}.")
    return contact_sheet([(file.filename or "", file.read()) for file in files])


@app.get("/samples.png")
@sheets
@concurrency.deadline(SECONDS)
def samples() -> Response:
    """The sheet of the sample pictures, two of which are broken."""
    return contact_sheet(sample_pictures())


def contact_sheet(pictures: Sequence[tuple[str, bytes]]) -> Response:
    """Make all pictures small at once, each in a task of its own, and draw what came of them."""
    with concurrency.task_group(timeout=SECONDS_FOR_PICTURES, policy="settle") as group:
        for _, content in pictures:
            group.processes.submit(thumbnail, content, SIDE)
    tiles = [
        Tile(name, result.value if result.ok else reason(name, result))
        for (name, _), result in zip(pictures, group.results(), strict=True)
    ]
    return Response(draw_sheet(tiles, "Contact sheet"), mimetype="image/png")


def reason(name: str, result: TaskResult) -> str:
    """Why a picture has none, in words for its tile. What is not its fault is logged."""
    if isinstance(result.error, PictureRefused):
        return str(result.error)
    if result.how == "late":
        return "was not ready in time"
    logger.error("%r has no tile", name, exc_info=result.error)
    return (
        "took too much memory" if isinstance(result.error, WorkerOutOfMemory) else "cannot be shown"
    )
