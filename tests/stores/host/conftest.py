"""Open host stores in a directory of the test's own. Knows nothing of what is tested."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.testing.manual_clock import ManualClock

OpenStore = Callable[..., HostStore]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the stores of a test keep their files; not made yet."""
    return tmp_path / "counts"


@pytest.fixture
def open_store(directory: Path) -> Iterator[OpenStore]:
    """Open small stores, each as if it were a process of its own; closed after the test."""
    stores = []
    clock = ManualClock()

    def open_one(namespace: str = "app", **options: Any) -> HostStore:
        sizes = {"max_keys": 256, "max_processes": 8}
        stores.append(
            HostStore(namespace, **{"directory": directory, "clock": clock, **sizes, **options})
        )
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()
