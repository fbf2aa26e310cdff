"""An app, its extension, and threads that carry its contexts, for the tests that ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.flask_app.work.task_context import FlaskCarrier


@pytest.fixture
def app() -> Flask:
    """An app whose errors are answered, as in production; it counts in memory."""
    app = Flask("tested")
    app.config["CONCURRENCY_STORE"] = "memory://"
    return app


@pytest.fixture
def concurrency(app: Flask) -> Concurrency:
    """The extension, without limits."""
    return Concurrency(app)


@pytest.fixture
def make() -> Callable[..., tuple[Flask, Concurrency]]:
    """Make an app and its extension: ``app, concurrency = make(default_limits="5/minute")``."""

    def make_app(**options: Any) -> tuple[Flask, Concurrency]:
        app = Flask(__name__)
        return app, Concurrency(app, **options)

    return make_app


@pytest.fixture
def threads() -> Iterator[ThreadExecutor]:
    """Four threads that carry Flask's contexts, and are gone after the test."""
    pool = ThreadExecutor(4, carry=FlaskCarrier())
    yield pool
    pool.shutdown()
    assert pool.snapshot().workers == 0
