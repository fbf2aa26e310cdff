"""Fixtures for pytest: ``pytest_plugins = ["flask_concurrency.testing.plugin"]`` in a conftest.

The only file that needs pytest; it knows no app but the one of your ``app`` fixture.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from flask_concurrency.testing.counts import fresh_counts as counting_anew
from flask_concurrency.testing.executors import inline_executors as running_inline
from flask_concurrency.testing.manual_clock import ManualClock


@pytest.fixture(autouse=True)
def fresh_counts() -> Iterator[None]:
    """Begin each test with nothing counted, in any app."""
    with counting_anew():
        yield


@pytest.fixture
def limit_clock(fresh_counts: None) -> Iterator[ManualClock]:
    """The clock that limits count by in this test; it moves only by ``limit_clock.advance()``."""
    clock = ManualClock()
    with counting_anew(clock):
        yield clock


@pytest.fixture
def inline_executors(app: Flask) -> Iterator[None]:
    """Tasks of ``app``'s threads and processes run when they are submitted."""
    with running_inline(app):
        yield
