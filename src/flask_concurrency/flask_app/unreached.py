"""Find what was decorated but no request can meet, since it would be unlimited in silence.

Knows views and blueprints; knows no request and no limit.
"""

from __future__ import annotations

import inspect
import logging
import weakref
from collections.abc import Collection
from dataclasses import dataclass

from flask import Blueprint, Flask

from flask_concurrency.flask_app import markers
from flask_concurrency.flask_app.markers import Mark

logger = logging.getLogger("flask_concurrency.limits")


@dataclass(frozen=True, slots=True)
class Unreached:
    """A declaration that applies to nothing.

    :ivar name: The function, class or blueprint that carries it.
    :ivar where: Its file and line, or its module.
    :ivar remedy: What makes a route reach it.
    """

    name: str
    where: str
    remedy: str

    def __str__(self) -> str:
        return (
            f"No route reaches {self.name} ({self.where}), so what was declared on it with "
            f"Concurrency applies to nothing. {self.remedy}"
        )


class Decorated:
    """What one extension has decorated, remembered for as long as it exists.

    :param apps: The apps the extension serves, kept up to date by whoever gives them.
    """

    def __init__(self, apps: Collection[Flask]) -> None:
        self._apps = apps
        self._marks: dict[int, tuple[weakref.ref[object], Mark]] = {}

    def remember(self, target: object, mark: Mark) -> None:
        """Look for ``mark`` on the apps' routes from now on."""
        marks, number = self._marks, id(mark)  # no cycle through self: the callback outlives it

        def forget(_: object) -> None:
            marks.pop(number, None)

        try:
            marks[number] = (weakref.ref(target, forget), mark)
        except (
            TypeError
        ):  # an object with __slots__: it cannot be watched, but is limited all right
            return

    def unreached(self) -> list[Unreached]:
        """What no route of any app reaches now."""
        return list(self._unreached().values())

    def report(self) -> None:
        """Log what no route reaches, once for each."""
        for number, found in self._unreached().items():
            if self._marks.pop(number, None) is not None:
                logger.warning("%s", found)

    def _unreached(self) -> dict[int, Unreached]:
        reached = {id(mark) for app in list(self._apps) for mark in markers.reached(app)}
        found = {}
        for number, (reference, _) in list(self._marks.items()):
            target = reference()
            if number not in reached and target is not None:
                found[number] = _describe(target)
        return found


def _describe(target: object) -> Unreached:
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
        "decorator needs functools.wraps.",
    )
