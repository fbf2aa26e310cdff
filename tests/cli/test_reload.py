"""Files of an app that change, come or go are seen; those of others are not."""

from __future__ import annotations

import os
from pathlib import Path

from flask_concurrency.cli.reload import changed, times_of


def test_a_change_of_the_app_is_seen(tmp_path: Path) -> None:
    """Of its code and templates, in any directory of it."""
    (tmp_path / "shop").mkdir()
    (code := tmp_path / "shop" / "app.py").write_text("one")
    times = times_of(tmp_path)
    assert changed(times, tmp_path) is None
    os.utime(code, (1, 1))
    assert (now := changed(times, tmp_path)) is not None
    (tmp_path / "shop" / "page.html").write_text("new")
    assert (after := changed(now, tmp_path)) is not None
    code.unlink()
    assert changed(after, tmp_path) is not None


def test_other_files_change_nothing(tmp_path: Path) -> None:
    """Neither what the app writes nor what is installed beside it."""
    times = times_of(tmp_path)
    for directory in (".venv", "__pycache__", "node_modules", "data"):
        (tmp_path / directory).mkdir()
        name = "file.db" if directory == "data" else "code.py"
        (tmp_path / directory / name).write_text("")
    assert changed(times, tmp_path) is None
