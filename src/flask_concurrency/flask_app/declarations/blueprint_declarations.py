"""Decide which of a blueprint's declarations are an app's own, where factories share it.

Knows in which order a blueprint was declared on and registered; knows no limit and no route.

What a module declares holds in every app. What a function declares, such as an app factory, is
replaced when the same line declares anew for the next app: each app keeps what was said for it.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

from flask import Flask

Line = tuple[str, int]
"""A file and line of code in a function; a module's code has none."""

_now = itertools.count(1)


class Entry(NamedTuple):
    """One declaration on a blueprint.

    :ivar owner: The extension it was declared with.
    :ivar declaration: What was declared.
    :ivar at: When, as a number that rises.
    :ivar line: The line of the function that declared it; ``None`` for a module.
    :ivar for_one_app: Whether it never reaches an app that it was not declared for.
    """

    owner: object
    declaration: Any
    at: int
    line: Line | None
    for_one_app: bool


class BlueprintDeclarations:
    """What was declared on one blueprint, and where that was registered.

    :param apps: Apps that have registered it already.
    """

    def __init__(self, apps: Iterable[Flask] = ()) -> None:
        self._entries: list[Entry] = []
        self._registrations = [(next(_now), weakref.ref(app)) for app in apps]

    def add(self, owner: object, declaration: object, *, for_one_app: bool) -> Entry:
        """Declare something; the caller's line is noted."""
        entry = Entry(owner, declaration, next(_now), _line_of_caller(), for_one_app)
        self._entries.append(entry)
        return entry

    def registered(self, setup: Any) -> None:
        """Note that an app registers the blueprint; called by Flask."""
        if not self._registrations or self._registrations[-1][1]() is not setup.app:
            self._registrations.append((next(_now), weakref.ref(setup.app)))

    def all(self) -> list[Entry]:
        """Everything that was ever declared."""
        return list(self._entries)

    def of(self, app: Flask) -> list[Entry]:
        """What holds in one app, the newest first."""
        lines: dict[Line, list[Entry]] = {}
        found = []
        for entry in self._entries:
            if entry.line is None:
                found.append(entry)
            else:
                lines.setdefault(entry.line, []).append(entry)
        for entries in lines.values():
            found += self._turn(entries, app)
        return sorted(found, key=lambda entry: -entry.at)

    def _turn(self, entries: list[Entry], app: Flask) -> list[Entry]:
        """What one line of a function declared for ``app``; else what it declared last before."""
        starts = [at for at, _ in self._registrations]
        turns = [number for number, (_, by) in enumerate(self._registrations) if by() is app]
        if not turns:
            return entries
        turn = turns[-1]
        # A factory declares either before it registers or after: so did its first call.
        declares_before = entries[0].at < starts[0]

        def of(number: int) -> list[Entry]:
            if declares_before:
                low, high = starts[number - 1] if number else 0, starts[number]
            else:
                low = starts[number]
                high = starts[number + 1] if number + 1 < len(starts) else sys.maxsize
            return [entry for entry in entries if low < entry.at < high]

        own = of(turn)
        if own or entries[0].for_one_app:
            return own
        for earlier in reversed(range(turn)):
            if before := of(earlier):
                return before
        return entries if not declares_before else []


def _line_of_caller() -> Line | None:
    """Where the first code that is not ours stands; ``None`` for that of a module or class."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(
        "flask_concurrency."
    ):
        frame = frame.f_back
    code = frame.f_code
    return None if code.co_name == "<module>" else (code.co_filename, frame.f_lineno)
