"""Pictures of the docs are made by commands, and each is shown."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any


def test_every_picture_is_made_by_a_command(pages: dict[str, Any], root: Path) -> None:
    """That is named, and that there is."""
    text = pages["CONTRIBUTING.md"].text
    section = text.partition("## Pictures")[2].partition("\n## ")[0]
    named = re.findall(r"`([\w-]+\.(?:png|svg))`", section)
    assert sorted(named) == sorted(path.name for path in (root / "docs" / "images").iterdir())
    modules = re.findall(r"-m ([\w.]+)", section)
    assert modules
    for module in modules:
        assert importlib.util.find_spec(module) is not None


def test_every_picture_is_shown(pages: dict[str, Any], root: Path) -> None:
    """On a page in light; its dark twin beside it, or as its other half."""
    shown = "".join(page.text for name, page in pages.items() if name != "CONTRIBUTING.md")
    for path in (root / "docs" / "images").iterdir():
        assert path.name.replace("-dark", "") in shown
