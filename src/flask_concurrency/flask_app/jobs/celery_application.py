"""Find the Celery application that a configuration means. Imports Celery only when asked to."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from flask import Flask

from flask_concurrency.flask_app.jobs.options import CELERY, KEY
from flask_concurrency.vocabulary.errors import ConfigurationError

_MISSING: Final = object()


def find_celery(app: Flask, place: str | None) -> Any:
    """The Celery application at a place; without one, the one the app has as its extension.

    :param place: ``"module:name"``.
    :raises ConfigurationError: Celery is not installed, or no Celery application is there.
    """
    try:
        from celery import Celery
    except ImportError:
        raise ConfigurationError(
            f"{KEY} = {{'engine': {CELERY!r}}} needs Celery, which is not installed: "
            'pip install "Flask-Concurrency[celery]"'
        ) from None
    if place is None:
        found, where = app.extensions.get("celery"), "app.extensions['celery']"
    else:
        found, where = _at(place), repr(place)
    if isinstance(found, Celery):
        return found
    what = "nothing" if found is None else f"a {type(found).__name__}"
    raise ConfigurationError(
        f"{KEY} = {{'engine': {CELERY!r}}}: there is {what} in {where}, and no Celery application. "
        'Name it as \'app\': "shop:celery", or put it into app.extensions["celery"] before '
        "init_app()."
    )


def _at(place: str) -> object:
    module_name, _, name = place.partition(":")
    module = _module(module_name, place)
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, _MISSING)
    if found is not _MISSING:
        return found
    hint = f"{module_name!r} has no such name."
    if getattr(module.__spec__, "_initializing", False):
        hint = (
            f"{module_name!r} is just being imported: make the Celery application above the line "
            "that calls Concurrency(app) or init_app(app)."
        )
    raise ConfigurationError(f"{KEY} = {{'app': {place!r}}}: {hint}")


def _module(name: str, place: str) -> ModuleType:
    """A module; the one that runs as a program, if it is the one that is named."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None) or ""
    if name not in sys.modules and (spec.name if spec else _stem(file)) == name:
        return main
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ConfigurationError(
            f"{KEY} = {{'app': {place!r}}}: there is no module {error.name!r}."
        ) from None


def _stem(file: str) -> str:
    return file.rpartition("/")[2].removesuffix(".py")
