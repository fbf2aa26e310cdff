"""Read what a visitor chose from the query, within bounds. Knows no route.

Every refusal names the parameter, what was sent, and what may be.
"""

from __future__ import annotations

from flask import request
from werkzeug.exceptions import BadRequest


def number(name: str, *, default: float, least: float, most: float) -> float:
    """A number of the query.

    :param default: What it is where the query has none.
    :raises BadRequest: It is no number from ``least`` to ``most``.
    """
    text = request.args.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise _bad(name, text, "a number", least, most) from None
    if not least <= value <= most:  # also false for "nan"
        raise _bad(name, text, "a number", least, most)
    return value


def whole_number(name: str, *, default: int, least: int, most: int) -> int:
    """A whole number of the query; otherwise like :func:`number`."""
    value = number(name, default=default, least=least, most=most)
    if value != int(value):
        raise _bad(name, request.args[name], "a whole number", least, most)
    return int(value)


def seconds_to_wait() -> float:
    """The ``seconds`` of the query; how long a view shall wait."""
    return number("seconds", default=0.1, least=0, most=2)


def _bad(name: str, text: str, wanted: str, least: float, most: float) -> BadRequest:
    shown = text if len(text) <= 40 else text[:40] + "…"
    return BadRequest(f"{name} = {shown!r}: give {wanted} from {least:g} to {most:g}.")
