"""Find what was decorated but applies to no request, since it would be unlimited without a warning.

Knows views and blueprints; knows no request and no limit.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Protocol

from flask import Blueprint, Flask, request_started

from flask_concurrency.flask_app.declarations import decorations
from flask_concurrency.vocabulary.safe_logger import SafeLogger

EXTENSION = "concurrency"
"""Where an app keeps what belongs to it."""

logger = SafeLogger("flask_concurrency.limits")

Decorations = dict[int, tuple[weakref.ref[object], object]]
"""By a decoration's identity, what carries it."""


@dataclass(frozen=True, slots=True)
class Unreached:
    """A declaration that applies to nothing.

    :ivar name: The function, class or blueprint that carries it.
    :ivar where: Its file and line, or its module.
    :ivar remedy: What makes it apply.
    :ivar served: Whether the extension it was declared with serves an app, though no route of it.
    """

    name: str
    where: str
    remedy: str
    served: bool = True

    def __str__(self) -> str:
        why = (
            f"No route reaches {self.name} ({self.where})"
            if self.served
            else f"{self.name} ({self.where}) is decorated by a Concurrency that serves no app"
        )
        text = f"{why}, so what was declared on it with Concurrency applies to nothing."
        return f"{text[0].upper()}{text[1:]} {self.remedy}"


class ChoosingLimit(Protocol):
    """A limit that functions give in each request, as far as it is needed here."""

    used: bool

    def chooses_by(self, functions: Collection[Any]) -> str | None:
        """The name of the first of these functions that it asks."""


class DeclarationRegistry:
    """What one extension has declared, remembered for as long as it exists.

    :param apps: The apps the extension serves, kept up to date by the extension.
    """

    def __init__(self, apps: Collection[Flask]) -> None:
        self._apps = apps
        self._in_use = False
        self._decorations: Decorations = {}
        request_started.connect(self.forgotten)  # until it serves an app
        self._limits: weakref.WeakSet[ChoosingLimit] = weakref.WeakSet()
        self._looked_at: weakref.WeakSet[Flask] = weakref.WeakSet()
        _extensions.add(self)

    @property
    def in_use(self) -> bool:
        """Whether it has served any app, also one that is gone."""
        return self._in_use

    def serve(self) -> None:
        """Note that it serves an app."""
        self._in_use = True
        request_started.disconnect(self.forgotten)

    def forgotten(self, app: Flask, **_: object) -> None:
        """Log once that an app in use was never registered with its extension; a signal receiver.

        Else its limits and deadlines would apply to nothing without a warning, and its async
        views would ask for another package.
        """
        if app in self._looked_at or EXTENSION in app.extensions:
            return  # where another Concurrency serves the app, that one reports
        self._looked_at.add(app)
        found = {id(each) for each, _ in decorations.on_routes(app)}
        if any(number in found for number in self._decorations):
            what = "what was declared with it applies to nothing"
        elif any(map(_is_async, app.view_functions.values())):
            what = "async views do not run on its loop"
        else:
            return
        logger.warning(
            "%r is in use, but its Concurrency() serves no app, so %s: call "
            "concurrency.init_app(app) in its factory, or write Concurrency(app).",
            app.name,
            what,
        )

    def watch(self, limit: ChoosingLimit) -> None:
        """Log a limit that a function gives, if that is a view and the limit is never used."""
        self._limits.add(limit)

    def remember(self, target: object, decoration: object) -> None:
        """Look for ``decoration`` on the apps' routes from now on."""
        # No cycle through self: the callback outlives it.
        declared, number = self._decorations, id(decoration)

        def forget(_: object) -> None:
            declared.pop(number, None)

        try:
            declared[number] = (weakref.ref(target, forget), decoration)
        except TypeError:
            return  # an object with __slots__: it cannot be watched, but is limited all right

    def unreached(self) -> list[Unreached]:
        """What applies to nothing now: no route of any app reaches it, or no app is served."""
        return [found for _, _, found in self._unreached()]

    def report(self) -> None:
        """Log what applies to nothing, once for each."""
        for declared, number, found in self._unreached():
            if declared.pop(number, None) is not None:
                logger.warning("%s", found)
        views = [view for app in list(self._apps) for view in app.view_functions.values()]
        for limit in list(self._limits):
            if not limit.used and (name := limit.chooses_by(views)) is not None:
                self._limits.discard(limit)
                logger.warning(
                    "@concurrency.limit stands above %r without its limit, so nothing limits it: "
                    'write @concurrency.limit("5/minute").',
                    name,
                )

    def _unreached(self) -> list[tuple[Decorations, int, Unreached]]:
        reached = {
            id(decoration)
            for app in list(self._apps)
            for decoration, _ in decorations.on_routes(app)
        }
        found = []
        for registry in list(_extensions):
            if registry is not self and registry.in_use:
                continue  # it reports by itself
            for number, (reference, _) in list(registry._decorations.items()):
                target = reference()
                ours = registry is self
                if target is not None and (number in reached) is not ours:
                    found.append((registry._decorations, number, _describe(target, served=ours)))
        return found


_extensions: weakref.WeakSet[DeclarationRegistry] = weakref.WeakSet()
"""Of every extension: one that serves no app has no request in which to report anything."""


def _is_async(view: object) -> bool:
    return inspect.iscoroutinefunction(view)


def _describe(target: object, *, served: bool) -> Unreached:
    if served:
        return _unregistered(target)
    remedy = "Decorate it with the one that serves this app, or call the other's init_app()."
    return replace(_unregistered(target), remedy=remedy, served=False)


def _unregistered(target: object) -> Unreached:
    if isinstance(target, Blueprint):
        return Unreached(
            f"blueprint {target.name!r}",
            f"module {target.import_name}",
            "Give it to app.register_blueprint().",
        )
    name = f"{getattr(target, '__qualname__', repr(target))!r}"
    module = f"module {getattr(target, '__module__', '?')}"
    if isinstance(target, type):
        return Unreached(
            f"class {name}",
            module,
            f"Register it with app.add_url_rule(..., view_func={target.__name__}.as_view(...)).",
        )
    code = getattr(inspect.unwrap(target) if callable(target) else target, "__code__", None)
    return Unreached(
        f"function {name}",
        module if code is None else f"{code.co_filename}:{code.co_firstlineno}",
        "Register it as a view; if a decorator above it makes another function of it, that "
        "decorator needs functools.wraps. A limit on a function that views call is asked with "
        'at="call".',
    )
