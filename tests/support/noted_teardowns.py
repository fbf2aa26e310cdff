"""An app that notes every teardown of an app context, and what it has noted."""

from __future__ import annotations

import threading

from flask import (
    Flask,
)


def noting_app() -> Flask:
    """An app that notes every teardown in ``extensions``."""
    app = Flask(__name__)
    app.secret_key = "for the tests"
    app.testing = True
    app.extensions["torn_down"] = []
    app.teardown_appcontext(
        lambda error: app.extensions["torn_down"].append((threading.get_ident(), error))
    )
    return app


def teardowns(app: Flask) -> list[tuple[int, BaseException | None]]:
    noted: list[tuple[int, BaseException | None]] = app.extensions["torn_down"]
    return noted
