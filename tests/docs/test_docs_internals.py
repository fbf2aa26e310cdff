"""The pages for contributors name files and folders that are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/flask_concurrency"
PAGES = sorted((ROOT / "docs/internals").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    """A file that was moved takes its name on the page along."""
    named = set(re.findall(r"[\w/]+\.py", page.read_text()))
    known = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    known |= {path.name for path in ROOT.glob("tests/**/*.py")}
    assert named
    assert [
        name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in known)
    ] == []


def test_the_map_has_the_folders_of_the_package_in_the_order_of_the_layers() -> None:
    """The contract that the imports are held to is the map that a reader is given."""
    page = (ROOT / "docs/internals/index.md").read_text()
    drawn = re.findall(r"^(\w+)  ", page.split("```text\n")[1].split("```")[0], re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contracts["contracts"][0]["layers"]
    ranked = [
        {name.rpartition(".")[2] for name in layer.split(" | ")}
        for layer in layers
        if "flask_concurrency.keys" not in layer
    ]
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert set(drawn) == folders
    ranks = [next(rank for rank, names in enumerate(ranked) if name in names) for name in drawn]
    assert ranks == sorted(ranks)
