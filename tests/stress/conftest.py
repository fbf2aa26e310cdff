"""The environment of the drills of jobs, on each kind of ledger, for as long as a drill takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.jobs.drill import Drill
from tests.stores.conftest import RedisServer


@pytest.fixture(params=["sqlite", "redis"])
def drill(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Drill]:
    """One ledger, and what its workers and jobs say."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
        if request.param == "redis":
            url = stack.enter_context(RedisServer("--appendonly", "yes")).url
        drill = Drill(url, tmp_path, app=f"drill-{os.getpid()}")
        stack.callback(drill.close)
        yield drill
