"""Describe where a run took place, without naming the host, the user or any path."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "Flask-Concurrency",
    "Flask",
    "Werkzeug",
    "Flask-Limiter",
    "limits",
    "Flask-Executor",
    "Pebble",
    "loky",
    "asgiref",
    "a2wsgi",
    "Quart",
    "greenlet",
    "uvicorn",
    "httptools",
    "uvloop",
    "granian",
    "gunicorn",
)


def describe_machine() -> dict[str, object]:
    """Python, processors and package versions; ``None`` for a package that is not installed."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
