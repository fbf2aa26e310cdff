"""What the README shows is clean for a strict reader of types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NAMES = """
import asyncio

from flask import request


def make_report() -> str:
    return ""


def fetch(url: str) -> str:
    return url


def count_primes(numbers: range) -> int:
    return len(numbers)


def crunch(data: bytes) -> int:
    return len(data)


def charge(order: dict) -> str:
    return str(order)


async def price(shop: str) -> int:
    return len(shop)


urls, ranges, shops, url, data = ["/"], [range(3)], ["a"], "/", b""
"""
"""What the README's blocks leave to the reader."""


@pytest.mark.slow
def test_the_readme_is_clean_for_pyright(pages: dict[str, Any], tmp_path: Path) -> None:
    """A group's results are bound after its block, since the group hides no error."""
    readme = pages["README.md"]
    blocks = [*readme.blocks("python runnable"), *readme.blocks("python")]
    assert any("task_group" in block for block in blocks)
    (tmp_path / "readme.py").write_text(NAMES + "\n".join(blocks))
    run = subprocess.run(
        [sys.executable, "-m", "pyright", f"--pythonpath={sys.executable}", "readme.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert "0 errors" in run.stdout, run.stdout
