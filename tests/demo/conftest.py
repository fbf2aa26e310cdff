"""Make the demo's apps, each test fresh ones, and its servers and a browser for the slow tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # ``examples`` is no part of what is installed


@pytest.fixture
def api_app() -> Iterator[Flask]:
    """The API, whose threads and processes end with the test."""
    from examples.demo.api import create_app
    from examples.demo.extension import concurrency
    from examples.demo.origins import Origins

    app = create_app(Origins())
    app.testing = True
    yield app
    with app.app_context():
        concurrency.threads.shutdown()
        concurrency.processes.shutdown()


@pytest.fixture
def api(api_app: Flask) -> FlaskClient:
    """A client of the API."""
    return api_app.test_client()


@pytest.fixture
def page() -> FlaskClient:
    """A client of the page's own server."""
    from examples.demo.origins import Origins
    from examples.demo.page import create_app

    app = create_app(Origins())
    app.testing = True
    return app.test_client()
