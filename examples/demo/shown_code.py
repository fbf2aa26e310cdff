"""Show on the page the very code that runs: functions cut out of the demo's own files.

Knows how to find a function; which ones are shown is decided by the page.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from markupsafe import Markup, escape

HERE = Path(__file__).parent


@cache
def source_of(module: str, function: str) -> str:
    """The source of a function, decorators included.

    :param module: A module of the demo, such as ``"burst"``.
    :raises LookupError: It has no such function.
    """
    source = (HERE / f"{module}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "\n".join(source.splitlines()[first - 1 : node.end_lineno])
    raise LookupError(f"{module}.py has no function {function!r}")


def highlighted(source: str) -> Markup:
    """The source as HTML, with what belongs to the extension marked."""
    return Markup(re.sub(r"@?concurrency\.[\w.]+", r"<b>\g<0></b>", str(escape(source))))
