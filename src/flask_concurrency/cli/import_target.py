"""Say how another process loads the same app: through Flask's loader, or as gunicorn writes it.

Knows import paths; runs nothing.
"""

from __future__ import annotations

import inspect
import re
import sys
from types import ModuleType

import click
from flask import Flask
from flask.cli import ScriptInfo, prepare_import


def import_path(info: ScriptInfo) -> str | None:
    """What to give a new :class:`~flask.cli.ScriptInfo`; ``None`` leaves it to Flask's search.

    :raises click.UsageError: The app comes from a function no other process could find.
    """
    make = info.create_app
    if make is None:
        return info.app_import_path
    # A command line of the app's own: FlaskGroup(create_app=...).
    module = sys.modules.get(getattr(make, "__module__", ""))
    name = getattr(make, "__name__", "")
    if module is None or module.__name__ == "__main__" or getattr(module, name, None) is not make:
        raise click.UsageError(
            "The server's processes cannot load this app by themselves. Name it for them, as in "
            "'flask --app module:app concurrency serve'."
        )
    return f"{module.__name__}:{name}"


def gunicorn_target(app: Flask, path: str | None) -> tuple[str, str]:
    """The app as gunicorn wants it named, and the directory it is imported from.

    :param app: The loaded app.
    :param path: What :func:`import_path` gave.
    """
    written, name = _split(path) if path else (_searched(), None)
    module_name = prepare_import(written)  # also puts the directory first in sys.path
    expression = _expression(sys.modules.get(module_name), app, name)
    return f"{module_name}:{expression}", sys.path[0]


def _split(path: str) -> tuple[str, str | None]:
    """Take a path apart where Flask does: at the colon that is no drive's."""
    module, *name = re.split(r":(?![\\/])", path, maxsplit=1)
    return module, name[0].strip() if name else None


def _searched() -> str:
    """The file in which Flask found an app that was not named: it tries wsgi.py, then app.py."""
    return "wsgi.py" if prepare_import("wsgi.py") in sys.modules else "app.py"


def _expression(module: ModuleType | None, app: Flask, name: str | None) -> str:
    """What to evaluate in the module: gunicorn calls a factory only if it is written as a call."""
    if name is None:
        for attribute, value in vars(module or ModuleType("")).items():
            if value is app:
                return attribute
        name = "create_app" if hasattr(module, "create_app") else "make_app"
    return f"{name}()" if inspect.isfunction(getattr(module, name, None)) else name
