"""Load a module when one of its names is first asked for. Knows no module."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def at_first_use(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and ``__dir__`` of a package that offers what is not loaded yet.

    They are those of PEP 562.

    :param package: The package's ``__name__``.
    :param modules: The names that each module gives.
    """
    found_in = {name: module for module, names in modules.items() for name in names}

    def load(name: str) -> object:
        module = found_in.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(module), name)

    def offered() -> list[str]:
        return sorted({*vars(sys.modules[package]), *found_in})

    return load, offered
