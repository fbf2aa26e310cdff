"""Write declarations on views, classes and blueprints, and find them again for a route.

A view function is copied, so that one function may be used twice for different ends. Classes and
blueprints carry what is declared on them. The order of decorators does not matter:
``functools.wraps`` hands the attribute on. Knows no request.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from itertools import accumulate
from types import FunctionType, MethodType
from typing import Any

from flask import Blueprint, Flask, has_request_context

from flask_concurrency.flask_app.declarations.blueprint_declarations import BlueprintDeclarations
from flask_concurrency.vocabulary.errors import ConfigurationError

ATTRIBUTE = "__flask_concurrency__"
COPIES = "__flask_concurrency_copies__"

EXEMPT = object()
"""The declaration of a view or blueprint to which no limit applies."""

_apps: weakref.WeakSet[Flask] = weakref.WeakSet()
"""Every app that an extension serves: each may have registered a view that others share."""


class Decoration:
    """One declaration on a function or class, on top of those already there.

    :ivar owner: The extension it was declared with; ``None`` for a function as it was written.
    :ivar declaration: What was declared.
    :ivar base: What stood there before.
    :ivar derived: What was declared on top of it, for each use of the function.
    """

    __slots__ = ("base", "declaration", "derived", "owner")

    def __init__(
        self, owner: object = None, declaration: Any = None, base: Decoration | None = None
    ) -> None:
        self.owner = owner
        self.declaration = declaration
        self.base = base
        self.derived: list[Decoration] = []

    def chain(self) -> Iterator[Decoration]:
        """This one and those below it, the newest first."""
        found: Decoration | None = self
        while found is not None:
            yield found
            found = found.base


def serve(app: Flask) -> None:
    """Look at an app's views from now on."""
    _apps.add(app)


def served_apps() -> list[Flask]:
    """Every app that an extension serves in this process."""
    return list(_apps)


def attach(target: Any, owner: object, declaration: object) -> tuple[Any, object]:
    """Declare something on a view function, a ``View`` class, a method of one or a blueprint.

    :returns: What carries the declaration, a copy of ``target`` if that is a function; and what
        :func:`on_routes` gives once a route reaches it.
    :raises ConfigurationError: ``target`` cannot be a view.
    """
    if isinstance(target, Flask):
        raise ConfigurationError(
            f"{target!r} cannot carry a declaration: decorate its views and blueprints. For all of "
            "them there are default_limits=, app_limits= and concurrency.cors(app, ...)."
        )
    if isinstance(target, Blueprint):
        on_blueprint = _declarations_of(target)
        return target, on_blueprint.add(owner, declaration, for_one_app=declaration is EXEMPT)
    if not callable(target):
        raise ConfigurationError(
            f"{target!r} cannot carry a declaration: decorate a view function, a View class or a "
            "Blueprint."
        )
    if has_request_context() and not isinstance(target, type):
        raise ConfigurationError(
            f"{target!r} is decorated while a request is handled, when its route is decided: put "
            "the decorator on the method itself or into the list 'decorators' of its class; in "
            "'method_decorators' of Flask-RESTX and Flask-RESTful only limits can stand."
        )
    return _on_callable(target, owner, declaration)


def _on_callable(target: Any, owner: object, declaration: object) -> tuple[Any, Decoration]:
    if isinstance(target, MethodType):
        function, decoration = _on_callable(target.__func__, owner, declaration)
        return MethodType(function, target.__self__), decoration
    base: Decoration | None = getattr(target, ATTRIBUTE, None)
    if not isinstance(target, FunctionType):
        decoration = Decoration(owner, declaration, base)
        try:
            setattr(target, ATTRIBUTE, decoration)
        except (AttributeError, TypeError):
            raise ConfigurationError(
                f"{target!r} cannot carry a declaration, because it takes no attributes: "
                "wrap it in a function and decorate that."
            ) from None
        return target, decoration
    if base is None:
        base = Decoration()
        setattr(target, ATTRIBUTE, base)
    decoration = Decoration(owner, declaration, base)
    copy = _copy(target)
    setattr(copy, ATTRIBUTE, decoration)
    base.derived.append(decoration)
    # As long as the function lives, the copy is watched: if neither is registered, that is logged.
    target.__dict__.setdefault(COPIES, []).append(copy)
    return copy, decoration


def _copy(function: FunctionType) -> FunctionType:
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__qualname__ = function.__qualname__
    copy.__module__ = function.__module__
    copy.__doc__ = function.__doc__
    # Python 3.14 evaluates annotations late; Python 3.12 knows type parameters.
    for name in ("__annotate__", "__type_params__"):
        if hasattr(function, name):
            setattr(copy, name, getattr(function, name))
    if not hasattr(function, "__annotate__"):
        copy.__annotations__ = function.__annotations__
    copy.__dict__.update(function.__dict__)
    copy.__dict__.pop(COPIES, None)
    return copy


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
        blueprint = app.blueprints.get(name)
        declared: BlueprintDeclarations | None = getattr(blueprint, ATTRIBUTE, None)
        if declared is not None:
            for found in declared.of(app):
                if found.owner is owner:
                    yield name, found.declaration


def on_routes(app: Flask) -> Iterator[tuple[object, Any]]:
    """Every declaration that some request to ``app`` can meet, as :func:`attach` gave it."""
    for blueprint in list(app.blueprints.values()):
        declared: BlueprintDeclarations | None = getattr(blueprint, ATTRIBUTE, None)
        if declared is not None:
            for entry in declared.all():  # those of another app's turn included: they apply there
                yield entry, entry.declaration
    for carrier in _carriers(app):
        for found in _read(carrier):
            yield found, found.declaration


def _carriers(app: Flask) -> Iterator[object]:
    for view in list(app.view_functions.values()):
        view_class = getattr(view, "view_class", None)
        yield view_class
        yield view
        yield getattr(view_class, "dispatch_request", None)
        for method in getattr(view_class, "methods", None) or ():
            yield getattr(view_class, method.lower(), None)


def _of(target: object, owner: object) -> Iterator[Any]:
    return (found.declaration for found in _read(target) if found.owner is owner)


def _read(target: object) -> list[Decoration]:
    """What stands on a view, the newest first.

    A decorator above ``app.route()`` makes a copy that no route reaches: what it says applies to
    the function that was registered.
    """
    own: Decoration | None = getattr(target, ATTRIBUTE, None)
    if own is None:
        return []
    above: list[Decoration] = []
    if own.derived:
        registered = {
            id(found)
            for app in list(_apps)
            for carrier in _carriers(app)
            if isinstance(top := getattr(carrier, ATTRIBUTE, None), Decoration)
            for found in top.chain()
        }
        above = list(_unregistered(own, registered))
    return [*above, *own.chain()]


def _unregistered(base: Decoration, registered: set[int]) -> Iterator[Decoration]:
    """What was declared on top and is used by no route of its own, the newest first."""
    for decoration in reversed(base.derived):
        if id(decoration) not in registered:
            yield from _unregistered(decoration, registered)
            yield decoration


def _declarations_of(blueprint: Blueprint) -> BlueprintDeclarations:
    declared: BlueprintDeclarations | None = getattr(blueprint, ATTRIBUTE, None)
    if declared is None:
        declared = BlueprintDeclarations(
            app for app in list(_apps) if blueprint in app.blueprints.values()
        )
        setattr(blueprint, ATTRIBUTE, declared)
        # Not record(): it may be registered already, and will be again in another app.
        registering: Callable[[Any], None] = declared.registered
        blueprint.deferred_functions.append(registering)
    return declared
