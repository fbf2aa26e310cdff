"""Load the app a command is about, and find what Flask-Concurrency keeps for it, if anything.

Knows Flask's loader and where the extension leaves its state; knows no command.
"""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

import click
from flask import Flask
from flask.cli import ScriptInfo

from flask_concurrency.asgi.interface import AsgiApplication
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.asgi_app import make_asgi_app
from flask_concurrency.flask_app.declarations.unused import EXTENSION
from flask_concurrency.vocabulary.errors import ConfigurationError

OURS = Path(__file__).parents[1]
STDLIB = Path(sysconfig.get_path("stdlib"))


def load(info: ScriptInfo) -> Flask:
    """The app that ``flask --app``, ``FLASK_APP`` or Flask's search names.

    :raises click.ClickException: A limit or setting in it is wrong; with file and line.
    """
    try:
        return info.load_app()
    except ConfigurationError as error:
        theirs = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not _is_pythons_or_ours(Path(frame.filename))
        ]
        raise click.ClickException(
            f"{theirs[-1].filename}, line {theirs[-1].lineno}: {error}"
        ) from None


def _is_pythons_or_ours(file: Path) -> bool:
    """Whether a file is no part of the app: its author can do nothing there."""
    pythons = STDLIB in file.parents and "site-packages" not in file.parts
    return pythons or OURS in file.parents


def state_of(app: Flask) -> AppState | None:
    """The app's state; ``None`` if it never called ``init_app``."""
    state = app.extensions.get(EXTENSION)  # one namespace for all extensions of the world
    return state if isinstance(state, AppState) else None


def shared_state_of(app: Flask) -> AppState:
    """The app's state, if other processes can look into its store.

    :raises click.ClickException: They cannot, or the app never called ``init_app``.
    """
    state = state_of(app)
    if state is None:
        raise click.ClickException(not_served(app))
    if state.store_uri == "memory://":
        raise click.ClickException(
            f"{app.name!r} counts in memory://, inside each worker process, where no command can "
            'look. Use the default store, or CONCURRENCY_STORE = "host://" or "redis://…".'
        )
    return state


def asgi_app_of(app: Flask) -> AsgiApplication:
    """The ASGI application of an app.

    :raises click.ClickException: It never called ``init_app``, so nothing can serve it so.
    """
    state = state_of(app)
    if state is None:
        raise click.ClickException(f"--asgi: {not_served(app)}")
    return make_asgi_app(app, state)


def not_served(app: Flask) -> str:
    """The message to the author of an app without the extension."""
    return (
        f"{app.name!r} has no limits: Flask-Concurrency is installed, but the app does not use it. "
        "Add 'concurrency = Concurrency(app)', or call concurrency.init_app(app) in its factory."
    )
