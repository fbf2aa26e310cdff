"""Find the pages of the documentation and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask import Flask, Response
from werkzeug.test import TestResponse

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


class Page(NamedTuple):
    """One Markdown file.

    :ivar name: Its path from the repository's root.
    """

    name: str
    text: str

    def blocks(self, info: str) -> list[str]:
        """The code of its fenced blocks that begin with exactly these words."""
        return [block["code"] for block in FENCED.finditer(self.text) if block["info"] == info]


class OfUnknownLength(Response):
    """What a server has not taken whole before it has asked for more."""

    automatically_set_content_length = False


@pytest.fixture
def begun() -> Iterator[Callable[..., TestResponse]]:
    """Make requests whose answers, of any length, are not read yet: so they are still in flight.

    ``begun(app, "/report", X_API_Key="ada")`` gives the answer. It is closed at the test's end, if
    not before.
    """
    with ExitStack() as answers:

        def begin(app: Flask, path: str, **headers: str) -> TestResponse:
            app.response_class = OfUnknownLength
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            answer = app.test_client().get(path, headers=sent, buffered=False)
            answers.enter_context(answer)
            return answer

        yield begin


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def pages() -> dict[str, Page]:
    """Every page of the project, by name."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    names = sorted(str(path.relative_to(ROOT)) for path in files)
    return {name: Page(name, (ROOT / name).read_text()) for name in names}


@pytest.fixture
def run_block(pages: dict[str, Page]) -> Callable[..., dict[str, Any]]:
    """``run_block("docs/how-to/errors.md", 1)`` runs a page's second runnable block.

    It gives the names that the block made.
    """

    def run(page: str, number: int = 0) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "shown"}
        exec(compile(pages[page].blocks("python runnable")[number], page, "exec"), names)
        return names

    return run
