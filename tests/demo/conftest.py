"""Make the demo's apps, each test fresh ones, and its servers and a browser for the slow tests."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flask import Flask
from flask.testing import FlaskClient

if TYPE_CHECKING:
    from examples.demo.origins import Origins
    from examples.demo.visitor import Visitor

ROOT = Path(__file__).parents[2]


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
def page_app() -> Iterator[Flask]:
    """The page's own server, which in its process logs no more of jobs than errors."""
    from examples.demo.origins import Origins
    from examples.demo.page import create_app

    app = create_app(Origins())
    app.testing = True
    yield app
    logging.getLogger("flask_concurrency.jobs").filters.clear()


@pytest.fixture
def page(page_app: Flask) -> FlaskClient:
    """A client of the page's own server."""
    return page_app.test_client()


@pytest.fixture(scope="module")
def origins() -> Origins:
    """Five neighbouring ports that are free."""
    from examples.demo.origins import Origins

    for port in range(8650, 9650, 5):
        with ExitStack() as probes:
            try:
                for number in range(port, port + 5):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", number))
            except OSError:
                continue
            return Origins(port)
    pytest.fail("No five neighbouring ports from 8650 to 9650 are free.")


@pytest.fixture(scope="module")
def demo(origins: Origins) -> Iterator[Origins]:
    """The demo's servers, running, with counts that begin anew in each test file."""
    from examples.demo.launching import launched

    with launched(origins):
        yield origins


@pytest.fixture(scope="module")
def browser() -> Iterator[Visitor]:
    """A Chromium; a missing one fails the test, since nothing else shows that the page works."""
    from examples.demo.visitor import BrowserMissing, chromium

    with ExitStack() as stack:
        try:
            yield stack.enter_context(chromium())
        except BrowserMissing as missing:
            pytest.fail(str(missing))


@pytest.fixture
def visitor(demo: Origins, browser: Visitor) -> Iterator[Visitor]:
    """The page, freshly loaded in a desktop's window; at the end its console must be clean."""
    browser.resize(1280, 900)
    browser.prefer("light")
    browser.open(demo.page)
    browser.logged("browser")
    yield browser
    complaints = [
        entry["message"]
        for entry in browser.logged("browser")
        # Chromium reports every refusal there, which is what the page is about.
        if entry["source"] != "network" or "responded with a status of" not in entry["message"]
    ]
    assert complaints == []
