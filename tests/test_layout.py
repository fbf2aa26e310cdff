"""The shape of the package: what the root offers, and that every file says what it is for."""

from __future__ import annotations

import ast
import sys
import types
from pathlib import Path

import pytest

import flask_concurrency

PACKAGE = Path(flask_concurrency.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

TO_LOAD_LATER = {"TYPE_CHECKING", "at_first_use"}
"""What the root itself needs; no name of its public surface."""


ROOT = ast.parse((PACKAGE / "__init__.py").read_text()).body


def names_of(imports: list[ast.stmt]) -> dict[str, str]:
    """What the root imports, and from where; each statement must be an import of our own."""
    found = {}
    for node in imports:
        assert isinstance(node, ast.ImportFrom), ast.unparse(node)
        assert node.module is not None, ast.unparse(node)
        assert node.module.startswith("flask_concurrency."), ast.unparse(node)
        found.update({alias.name: node.module for alias in node.names})
    return found


def test_all_names_exactly_what_the_root_offers() -> None:
    """``__all__`` is the whole public surface, in order, with what is loaded at its first use."""
    at_once = {
        name
        for name, value in vars(flask_concurrency).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    later = {name for node in ROOT if isinstance(node, ast.If) for name in names_of(node.body)}
    assert list(flask_concurrency.__all__) == sorted((at_once | later) - TO_LOAD_LATER)
    for name in later:
        assert getattr(flask_concurrency, name).__name__ == name


def test_the_root_only_lists() -> None:
    """Nothing is decided in ``__init__``: a docstring, imports of our own, and ``__all__``.

    What takes long to load is listed twice: for type checkers, and for ``at_first_use``. Both say
    the same.
    """
    docstring, typing, *imports, checked, loaded_later, names = ROOT
    assert isinstance(docstring, ast.Expr)
    assert ast.unparse(typing) == "from typing import TYPE_CHECKING"
    names_of(imports)
    assert isinstance(checked, ast.If)
    assert ast.unparse(checked.test) == "TYPE_CHECKING"
    assert not checked.orelse
    assert isinstance(loaded_later, ast.Assign)
    assert isinstance(loaded_later.value, ast.Call)
    assert ast.unparse(loaded_later.targets[0]) == "(__getattr__, __dir__)"
    assert ast.unparse(loaded_later.value.func) == "at_first_use"
    modules = ast.literal_eval(loaded_later.value.args[1])
    listed = {name: module for module, given in modules.items() for name in given}
    assert listed == names_of(checked.body)
    assert isinstance(names, ast.Assign)
    assert [ast.unparse(target) for target in names.targets] == ["__all__"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """The first line of a file is a sentence about it."""
    said = ast.get_docstring(ast.parse(path.read_text()))
    assert said, f"{path} has no docstring"
    assert said.splitlines()[0].endswith("."), f"{path}: the first line is no sentence"


def test_no_module_has_the_name_of_a_drawer() -> None:
    """A file answers one question, and these names answer none."""
    drawers = {"utils", "util", "helpers", "common", "manager", "misc", "base"}
    assert not [path for path in MODULES if path.stem in drawers]


def test_no_module_has_the_name_of_one_of_the_standard_library() -> None:
    """In a traceback, and in a search, ``queue.py`` is Python's own."""
    assert not [path for path in MODULES if path.stem in sys.stdlib_module_names - {"__future__"}]


def test_the_package_is_typed() -> None:
    """Type checkers of its users may look inside."""
    assert (PACKAGE / "py.typed").exists()
