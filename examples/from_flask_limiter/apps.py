"""Make the two apps of a comparison: the same view, limited by the one and by the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from flask_concurrency import Concurrency


def theirs(key: Callable[[], str] = get_remote_address, **options: Any) -> tuple[Flask, Limiter]:
    """An app with Flask-Limiter, and no view yet."""
    app = Flask("theirs")
    return app, Limiter(key, app=app, storage_uri="memory://", **options)


def ours(**options: Any) -> tuple[Flask, Concurrency]:
    """An app with Flask-Concurrency, and no view yet."""
    app = Flask("ours")
    return app, Concurrency(app, store="memory://", **options)


def with_view(app: Flask, limit: Callable[[Any], Any] | None = None) -> Flask:
    """Give an app its view, with a limit of its own or none."""

    def hello() -> str:
        return "Hello, World!"

    app.add_url_rule("/", "hello", hello if limit is None else limit(hello))
    return app
