"""Many clients' sheets at once on a real server: each gets its own pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from PIL import Image

CLIENTS = 8
SIDE, GAP, MARGIN, TITLE = 240, 28, 48, 92
"""Where the tiles of a sheet are, in pixels; see ``sheet.py``."""


def picture(colour: tuple[int, ...]) -> bytes:
    """A picture of one colour, as a file."""
    content = io.BytesIO()
    Image.new("RGB", (300, 300), colour).save(content, "PNG")
    return content.getvalue()


@pytest.mark.slow
def test_no_client_gets_anothers_pictures(serve: Callable[..., str]) -> None:
    """Two workers of the server, each with worker processes of its own; some wait for a permit."""
    url = serve("examples/contact_sheet/app", "gunicorn-gthread", workers=2, threads=16)

    def ask(client: int) -> list[tuple[int, ...]]:
        colours: list[tuple[int, ...]] = [(20 * client, 50 * n, 99) for n in range(4)]
        files = [("pictures", (f"{n}.png", picture(c))) for n, c in enumerate(colours)]
        files.insert(2, ("pictures", ("broken.png", b"no picture")))
        while True:
            answer = requests.post(url + "/sheet.png", files=files, timeout=60)
            if answer.status_code != 503:  # no permit for long: its answer says to come again
                break
        assert answer.status_code == 200, answer.text
        sheet = Image.open(io.BytesIO(answer.content)).convert("RGB")
        middle = [MARGIN + column * (SIDE + GAP) + SIDE // 4 for column in (0, 1, 3, 4)]
        seen = [sheet.getpixel((x, MARGIN + TITLE + SIDE // 2)) for x in middle]
        assert seen == colours
        return colours

    with ThreadPoolExecutor(CLIENTS) as clients:
        assert len(list(clients.map(ask, range(CLIENTS)))) == CLIENTS
