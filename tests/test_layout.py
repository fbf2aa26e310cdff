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


def test_all_names_exactly_what_the_root_offers() -> None:
    """A reader of ``__all__`` has read the whole public surface, in order."""
    offered = {
        name
        for name, value in vars(flask_concurrency).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert list(flask_concurrency.__all__) == sorted(offered)


def test_the_root_only_lists() -> None:
    """Nothing is decided in ``__init__``: a docstring, imports of our own, and ``__all__``."""
    docstring, *rest = ast.parse((PACKAGE / "__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr)
    *imports, names = rest
    assert all(isinstance(node, ast.ImportFrom) for node in imports)
    assert all(
        node.module is not None and node.module.startswith("flask_concurrency.")
        for node in imports
        if isinstance(node, ast.ImportFrom)
    )
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
