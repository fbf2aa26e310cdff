"""Write declarations on views, classes and blueprints, and find them again for a route.

The target itself carries them, so the order of decorators does not matter, and
``functools.wraps`` hands them on. Knows no request.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from flask import Blueprint, Flask

from flask_concurrency.vocabulary.errors import ConfigurationError

ATTRIBUTE = "__flask_concurrency__"

Decoration = tuple[object, Any]
"""Who declared, and what. Each is one object, however many wrappers hand it on."""


def attach(target: Any, owner: object, declaration: object) -> Decoration:
    """Write a declaration on ``target``, in front of those already there.

    :returns: What now stands on ``target``, to be found again by :func:`on_routes`.
    :raises ConfigurationError: ``target`` cannot be a view.
    """
    if isinstance(target, Flask):
        raise ConfigurationError(
            f"{target!r} cannot carry a declaration: decorate its views and blueprints. For all of "
            "them there are default_limits=, app_limits= and concurrency.cors(app, ...)."
        )
    if not callable(target) and not isinstance(target, Blueprint):
        raise ConfigurationError(
            f"{target!r} cannot carry a declaration: decorate a view function, a View class or a "
            "Blueprint."
        )
    written: Decoration = (owner, declaration)
    try:
        setattr(target, ATTRIBUTE, (written, *_read(target)))
    except AttributeError:
        raise ConfigurationError(
            f"{target!r} cannot carry a declaration, because it takes no attributes: "
            "wrap it in a function and decorate that."
        ) from None
    return written


def on_view(app: Flask, endpoint: str, owner: object) -> Iterator[Any]:
    """Declarations on an endpoint's view for all its methods: its class's first, then its own."""
    view: Any = app.view_functions.get(endpoint)
    view_class = getattr(view, "view_class", None)
    yield from _of(view_class, owner)
    yield from _of(view, owner)
    yield from _of(getattr(view_class, "dispatch_request", None), owner)


def on_method(app: Flask, endpoint: str, method: str, owner: object) -> tuple[str, list[Any]]:
    """Declarations on the method of a class that answers an HTTP method.

    :returns: The method's name, and what is declared on it.
    """
    view_class = getattr(app.view_functions.get(endpoint), "view_class", None)
    name = method.lower()
    if name == "head" and not hasattr(view_class, name):
        name = "get"  # as Flask's MethodView answers it
    return name, list(_of(getattr(view_class, name, None), owner))


def on_blueprints(app: Flask, endpoint: str, owner: object) -> Iterator[tuple[str, Any]]:
    """Declarations on the blueprints an endpoint is nested in, the outermost first.

    :returns: A blueprint's name, and what is declared on it, for each declaration.
    """
    for name in accumulate(endpoint.split(".")[:-1], "{}.{}".format):
        for declaration in _of(app.blueprints.get(name), owner):
            yield name, declaration


def on_routes(app: Flask) -> Iterator[Decoration]:
    """Every declaration that some request to ``app`` can meet."""
    for blueprint in list(app.blueprints.values()):
        yield from _read(blueprint)
    for view in list(app.view_functions.values()):
        view_class = getattr(view, "view_class", None)
        yield from _read(view_class)
        yield from _read(view)
        yield from _read(getattr(view_class, "dispatch_request", None))
        for method in getattr(view_class, "methods", None) or ():
            yield from _read(getattr(view_class, method.lower(), None))


def _of(target: object, owner: object) -> Iterator[Any]:
    return (declaration for declared_by, declaration in _read(target) if declared_by is owner)


def _read(target: object) -> tuple[Decoration, ...]:
    return getattr(target, ATTRIBUTE, ())
