"""Code on the pages is code that works."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _own_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the counts of a test's apps apart from those of all other tests."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def test_every_block_of_python_compiles(pages: dict[str, Any]) -> None:
    """No page shows a typing error; ``await`` may stand where a view is left out."""
    blocks = [
        (page.name, code)
        for page in pages.values()
        for info in ("python", "python runnable")
        for code in page.blocks(info)
    ]

    assert blocks
    for name, code in blocks:
        compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_block_marked_runnable_runs(pages: dict[str, Any]) -> None:
    """Each is complete: nothing is missing that a page says elsewhere."""
    blocks = [
        (page.name, code) for page in pages.values() for code in page.blocks("python runnable")
    ]

    assert blocks
    for name, code in blocks:
        exec(compile(code, name, "exec"), {"__name__": "shown"})


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_answer_in_the_readme_is_the_answer_of_its_app(
    pages: dict[str, Any], name: str
) -> None:
    """The 6th request gets every header field that is shown, and the body, word for word."""
    shown: dict[str, Any] = {"__name__": "readme"}
    exec(pages[name].blocks("python runnable")[0], shown)
    client = shown["app"].test_client()

    for _ in range(6):
        response = client.get("/")

    head, _, body = pages[name].blocks("http")[0].partition("\n\n")
    status, *fields = head.splitlines()
    assert status == f"HTTP/1.1 {response.status}"
    assert [field for field in fields if field not in str(response.headers)] == []
    assert body.strip() == response.text.strip()


def test_every_link_between_pages_leads_somewhere(pages: dict[str, Any], root: Path) -> None:
    """Files and headings that a page points to exist."""
    lost = [
        f"{page.name}: {target}"
        for page in pages.values()
        for target in re.findall(r"\]\(([^)\s]+)\)", page.text)
        if "://" not in target and not _exists(root, page.name, target)
    ]

    assert lost == []


def test_every_page_can_be_found_from_the_index(pages: dict[str, Any]) -> None:
    """Every page has a link that leads a reader to it."""
    index = pages["docs/index.md"].text
    written = [name.removeprefix("docs/") for name in pages if name.startswith("docs/")]
    beside = ("index.md", "zh-CN/")  # itself, and the pages that their own index lists

    assert [
        name for name in written if not name.startswith(beside) and f"({name})" not in index
    ] == []


def _exists(root: Path, page: str, target: str) -> bool:
    file, _, heading = target.partition("#")
    path = os.path.normpath(os.path.join(os.path.dirname(page), file)) if file else page
    if not (root / path).exists():
        return False
    if not heading:
        return True
    titles = re.findall(r"^#+ (.+)$", (root / path).read_text(), re.MULTILINE)
    return heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
