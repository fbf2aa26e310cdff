"""The tutorial's pages show the apps as they are, and figures that their command prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PAGES = {
    "chapter1_limits": "01-limits.md",
    "chapter2_threads": "02-threads.md",
    "chapter3_processes": "03-processes.md",
    "chapter4_async": "04-async.md",
}
LANGUAGES = ["docs/tutorial", "docs/zh-CN/tutorial"]
TIMED = "times as long"
"""What a figure says that differs from run to run."""


WITHOUT_FIGURES = {"chapter5_jobs": "05-jobs.md"}
"""What the tutorial does not do in any way."""


@pytest.mark.parametrize("folder", LANGUAGES)
@pytest.mark.parametrize("chapter", [*PAGES, *WITHOUT_FIGURES])
def test_a_chapter_shows_its_app_as_it_is(
    pages: dict[str, Any], root: Path, folder: str, chapter: str
) -> None:
    """Who copies the code from the page has the file."""
    code = (root / f"examples/tutorial/{chapter}.py").read_text()

    page = (PAGES | WITHOUT_FIGURES)[chapter]
    assert code in pages[f"{folder}/{page}"].blocks("python")


@pytest.mark.slow
@pytest.mark.timeout(300)  # it starts servers and hundreds of processes
@pytest.mark.parametrize("chapter", PAGES)
def test_a_chapter_quotes_the_figures_that_its_command_prints(
    pages: dict[str, Any], root: Path, chapter: str
) -> None:
    """Counts are quoted as they are measured now; times may differ, but are not left out."""
    number = chapter.removeprefix("chapter").partition("_")[0]
    printed = subprocess.run(
        [sys.executable, "-m", "examples.tutorial.measure", number],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        timeout=280,
    ).stdout
    title, *figures = printed.strip().split("\n\n")

    assert title.startswith(f"Chapter {number}")
    assert figures
    for folder in LANGUAGES:
        quoted = [block.strip() for block in pages[f"{folder}/{PAGES[chapter]}"].blocks("text")]
        for figure in figures:
            if TIMED in figure:
                what = figure.partition("\n")[0]
                assert [block for block in quoted if block.startswith(what)], figure
            else:
                assert figure in quoted
