"""Have a server load the app anew when a file of it changes. Knows no server."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

LOOK_EVERY: Final = 0.5
"""Seconds between two looks at the files."""

SUFFIXES: Final = (".py", ".html", ".env")
NOT_THE_APPS: Final = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
"""Directories without code of the app, beside those whose names begin with a dot."""


def reload_on_change(directory: Path, reload: Callable[[], object]) -> None:
    """Have ``reload`` called whenever a file below ``directory`` changes, from now on."""
    watch = threading.Thread(target=_watch, args=(directory, reload), name="reload", daemon=True)
    watch.start()


def changed(before: dict[Path, float], directory: Path) -> dict[Path, float] | None:
    """The times of the files now, if one has changed, come or gone; ``None`` if none has."""
    now = times_of(directory)
    return None if now == before else now


def times_of(directory: Path) -> dict[Path, float]:
    """When each file of the app was changed."""
    found = {}
    for path in _files(directory):
        try:
            found[path] = path.stat().st_mtime
        except OSError:  # it went away meanwhile
            continue
    return found


def _files(directory: Path) -> Iterator[Path]:
    for root, directories, names in os.walk(directory):
        directories[:] = [
            name for name in directories if name not in NOT_THE_APPS and not name.startswith(".")
        ]
        yield from (Path(root, name) for name in names if name.endswith(SUFFIXES))


def _watch(directory: Path, reload: Callable[[], object]) -> None:
    times = times_of(directory)
    while True:
        time.sleep(LOOK_EVERY)
        now = changed(times, directory)
        if now is not None:
            times = now
            reload()
