"""Write declarations on views, classes and blueprints, and find them again for a route.

The target itself carries them, so the order of decorators does not matter, and
``functools.wraps`` hands them on. Knows no request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Flask

from flask_concurrency.vocabulary.errors import ConfigurationError

MARKER = "__flask_concurrency__"


def mark(target: Any, owner: object, declaration: object) -> None:
    """Write a declaration on ``target``, in front of those already there.

    :raises ConfigurationError: ``target`` cannot be a view.
    """
    if not callable(target) and not isinstance(target, Blueprint):
        raise ConfigurationError(
            f"{target!r} cannot carry a declaration: decorate a view function, a View class or a "
            "Blueprint."
        )
    try:
        setattr(target, MARKER, ((owner, declaration), *_read(target)))
    except AttributeError:
        raise ConfigurationError(
            f"{target!r} cannot carry a declaration, because it takes no attributes: "
            "wrap it in a function and decorate that."
        ) from None


def on_view(app: Flask, endpoint: str, method: str, owner: object) -> Iterator[Any]:
    """Declarations on an endpoint's view: its class's first, then its own, then its method's."""
    view: Any = app.view_functions.get(endpoint)
    view_class = getattr(view, "view_class", None)
    yield from _of(view_class, owner)
    yield from _of(view, owner)
    yield from _of(getattr(view_class, method.lower(), None), owner)


def on_blueprints(app: Flask, names: list[str], owner: object) -> Iterator[Any]:
    """Declarations on a request's blueprints, the outermost first."""
    for name in reversed(names):
        yield from _of(app.blueprints.get(name), owner)


def _of(target: object, owner: object) -> Iterator[Any]:
    return (declaration for declared_by, declaration in _read(target) if declared_by is owner)


def _read(target: object) -> tuple[tuple[object, Any], ...]:
    return getattr(target, MARKER, ())
