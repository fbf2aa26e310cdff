"""Put limits into words for a terminal. Decides wording and layout, nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence

import click

from flask_concurrency.cli.routes import ListedRoute
from flask_concurrency.engine.explanation import ExplainedLimit, Explanation
from flask_concurrency.engine.snapshot import LimiterSnapshot
from flask_concurrency.vocabulary.priority import PRIORITIES

DECLARED = {
    "app": "on the app",
    "default": "as a default",
    "blueprint": "on the blueprint",
    "route": "on the view",
    "block": "around a block",
}
ALL_REQUESTS = "all_requests"

Left = Mapping[str, LimiterSnapshot]
"""What is left of limits, by their names; for some it is not known."""


def in_short(explanation: Explanation, left: Left | None = None) -> str:
    """A route's limits on one line: ``default:100/day, route:5/minute``.

    :param left: What is left of them, to be told with each; ``None`` for not.
    """
    within = "" if explanation.deadline is None else f"; within {explanation.deadline:g} s"
    if explanation.priority != "normal":
        within += f"; {explanation.priority}"
    if explanation.exempt:
        return f"exempt{within}"
    names = []
    for limit in explanation.applying:
        name = f"{limit.name} (shadow)" if limit.shadow else limit.name
        if left is not None:
            name += f" ({left[limit.name].remaining} left)" if limit.name in left else " (? left)"
        names.append(name)
    return (", ".join(names) or "no limits") + within


def in_full(route: ListedRoute, left: Left | None = None) -> list[tuple[str, str]]:
    """A route's limits line by line, numbered as they are asked: name and explanation.

    :param left: What is left of them, to be told with each; ``None`` for not.
    """
    lines = []
    number = 0
    for limit in route.explanation.limits:
        if limit.left_out is None:
            number += 1
        mark = f"{number}." if limit.left_out is None else "-"
        sentence = _sentence(limit)
        if left is not None and limit.left_out is None:
            sentence += f"; {_left(left.get(limit.name))}"
        lines.append((f"{mark} {limit.name}", sentence))
    if not lines:
        lines.append(("no limits", "every request comes in"))
    if route.explanation.deadline is not None:
        seconds = f"{route.explanation.deadline:g} s"
        lines.append(("deadline", f"answered within {seconds}, or 504 and its work is ended"))
    priority = route.explanation.priority
    if priority in PRIORITIES and priority != "normal":
        lines.append(("priority", f"{priority}, where an adaptive limit cannot admit all requests"))
    elif priority != "normal":
        lines.append(("priority", f"chosen by {priority}, where not all requests are admitted"))
    return lines


def _sentence(limit: ExplainedLimit) -> str:
    parts = [f"declared {_where(limit)}"]
    if limit.left_out is not None:
        parts.append(f"does not apply: {limit.left_out}")
    parts.append(_counted(limit))
    if limit.algorithm not in (None, "sliding-window"):
        parts.append(str(limit.algorithm))
    if limit.cost != 1:
        parts.append(f"a request costs {limit.cost}")
    if limit.methods is not None and limit.left_out is None:
        parts.append(f"only {', '.join(limit.methods)}")
    if limit.exempt_when is not None:
        parts.append(f"unless {limit.exempt_when}")
    if limit.at == "view":
        parts.append("asked after all hooks")
    if limit.at == "call":
        parts.append("asked where its decorator stands")
    if limit.charge_when is not None:
        parts.append(f"charged if {limit.charge_when}")
    if limit.final_cost is not None:
        parts.append(f"finally costs {limit.final_cost}")
    if limit.hidden_by is not None:
        parts.append(f"never refuses: {limit.hidden_by} does before")
    if limit.shadow:
        parts.append("shadow: only reported")
    return "; ".join(parts)


def _left(found: LimiterSnapshot | None) -> str:
    if found is None:
        return "how much is left is known only within a request"
    text = f"{found.remaining} of {found.used + found.remaining} left"
    if found.period is not None and found.used and found.reset_after:
        text += f", more in {found.reset_after:.0f} s"
    if found.max_queue:
        text += f", {found.waiting} of {found.max_queue} waiting"
    return text


def _counted(limit: ExplainedLimit) -> str:
    if limit.answer_within is not None:
        return (
            f"as many as are answered within {limit.answer_within:g} s, in each process by itself; "
            f"asked before all else; fair shares by {limit.key}"
        )
    whose = "all requests together" if limit.key == ALL_REQUESTS else f"by {limit.key}"
    if limit.scope == "process":
        whose += ", in each process by itself"
    if limit.shared is not None:
        return f"counted for all that are named {limit.shared!r}, {whose}"
    if limit.origin == "app":
        return f"counted for the whole app, {whose}"
    return f"counted for {'this method' if _is_on_method(limit) else 'this route'}, {whose}"


def _where(limit: ExplainedLimit) -> str:
    if _is_on_method(limit):
        return f"on the view's {limit.place}()"
    return f"{DECLARED[limit.origin]} {limit.place}".rstrip()


def _is_on_method(limit: ExplainedLimit) -> bool:
    return limit.origin == "route" and bool(limit.place)


def store_location(store_uri: str) -> str:
    """Where counts live, without what only the server should know, such as a password."""
    scheme, separator, rest = store_uri.partition("://")
    return f"{scheme}{separator}{rest.partition('?')[0].rpartition('@')[2]}"


def layout(sections: Iterable[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    """Titled lists in two columns, as wide as the terminal.

    :param sections: A title and its rows; a row too long for its column goes on below.
    """
    width = _width()
    formatter = click.HelpFormatter(width=width)
    for title, rows in sections:
        with formatter.section(title):
            formatter.write_dl(rows, col_max=max(width // 2, 12))
    return formatter.getvalue().strip("\n")


def paragraph(text: str, *, indent: int = 0) -> str:
    """Text broken into lines as wide as the terminal."""
    margin = " " * indent
    return click.wrap_text(text, _width(), initial_indent=margin, subsequent_indent=margin)


def _width() -> int:
    return min(shutil.get_terminal_size().columns, 100)
