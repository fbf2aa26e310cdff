"""Load the examples' apps as ``flask --app`` does, each test a fresh one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.cli import ScriptInfo

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def load_example(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[str], Flask]]:
    """``load_example("reports/app")`` gives the app, as ``flask --app`` finds it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # counts kept on disk begin at nothing
    loaded: set[Path] = set()

    def load(name: str) -> Flask:
        path = EXAMPLES / name
        monkeypatch.syspath_prepend(str(path.parent))
        loaded.add(path.parent)
        return ScriptInfo(app_import_path=str(path)).load_app()

    yield load
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent in loaded:
            del sys.modules[name]


@pytest.fixture
def load_chapter(load_example: Callable[[str], Flask]) -> Callable[[str], Flask]:
    """``load_chapter("chapter1_limits")`` gives a chapter of the tutorial."""
    return lambda name: load_example(f"tutorial/{name}")
