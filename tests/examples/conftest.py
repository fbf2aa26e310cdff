"""Load the tutorial's apps as ``flask --app`` does, each test a fresh one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.cli import ScriptInfo

TUTORIAL = Path(__file__).parents[2] / "examples" / "tutorial"


@pytest.fixture
def load_chapter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[str], Flask]]:
    """``load_chapter("chapter1_limits")`` gives the app, as ``flask --app`` finds it."""
    monkeypatch.syspath_prepend(str(TUTORIAL))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # counts kept on disk begin at nothing
    loaded: list[str] = []

    def load(name: str) -> Flask:
        loaded.append(name)
        return ScriptInfo(app_import_path=str(TUTORIAL / name)).load_app()

    yield load
    for name in loaded:
        sys.modules.pop(name, None)
