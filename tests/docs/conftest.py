"""Find the pages of the documentation and the blocks of code in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

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
