"""Draw the curves of ``growth`` from a page that has its table, for light pages and for dark.

Decides how they look; measures nothing::

    ./scripts/bench growth
    .venv/bin/python -m benchmarks.growth_chart docs/explanation/what-it-costs.md \\
        docs/images/growth.svg

writes ``growth.svg`` and ``growth-dark.svg``. Both axes are logarithmic: where a cost does not
grow, its curve is level.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from functools import partial
from math import log10
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import svg
from benchmarks.tables.growth import ROWS

COLUMNS: Final = 3
PANEL, PLOT, LEFT, TOP, GAP, LINE = 290, 120, 44, 60, 70, 96
DECADES: Final = 1.0
"""What each panel spans from its bottom to its top, so that slopes can be compared."""


LIGHT = svg.light({"cost": "#1f6fb8"})
DARK = svg.dark({"cost": "#6db3f5"})


class Curve(NamedTuple):
    """How one cost grows.

    :ivar name: What costs, and in which unit.
    :ivar numbers: Of what it may grow with.
    :ivar costs: One for each.
    """

    name: str
    numbers: Sequence[float]
    costs: Sequence[float]


def main() -> None:
    """Read the page, write both drawings."""
    parser = argparse.ArgumentParser(prog="benchmarks.growth_chart")
    parser.add_argument("page", type=Path, help="has the table that scripts/bench growth prints")
    parser.add_argument("svg", type=Path, help="where to draw; the dark one goes beside it")
    options = parser.parse_args()
    curves = read_curves(options.page.read_text(encoding="utf-8"))
    svg.write_both(options.svg, partial(draw, curves), light=LIGHT, dark=DARK)


def read_curves(page: str) -> list[Curve]:
    """Find the rows of the table in a page.

    :raises KeyError: One of them is missing.
    """
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    rows = {row[0]: row for row in cells if len(row) == 5}
    return [Curve(name, _numbers(rows[name][1]), _numbers(rows[name][2])) for name, *_ in ROWS]


def _numbers(cell: str) -> list[float]:
    return [float(each.replace(",", "")) for each in re.findall(r"[\d.,]+", cell)]


def draw(curves: Sequence[Curve], colours: svg.Colours) -> str:
    """Draw a panel for each cost."""
    width = LEFT + COLUMNS * PANEL + (COLUMNS - 1) * GAP + LEFT
    height = TOP + -(-len(curves) // COLUMNS) * (PLOT + LINE)
    what = "What each costs as its number grows: level is a cost that does not grow"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif">',
        f"<title>{what}</title>",
        f'<rect width="{width}" height="{height}" fill="{colours.paper}"/>',
        svg.text(LEFT, 28, what, colours.faint, 14),
    ]
    for number, curve in enumerate(curves):
        row, column = divmod(number, COLUMNS)
        lines += _panel(curve, LEFT + column * (PANEL + GAP), TOP + row * (PLOT + LINE), colours)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(curve: Curve, left: float, top: float, colours: svg.Colours) -> Iterable[str]:
    yield svg.text(left, top, curve.name, colours.ink, 14, "font-weight='600'")
    bottom = top + 20 + PLOT
    first, last = log10(curve.numbers[0]), log10(curve.numbers[-1])
    lowest = log10(min(curve.costs))
    ends = f'x1="{left}" x2="{left + PANEL}" y1="{bottom}" y2="{bottom}"'
    yield f'<line {ends} stroke="{colours.grid}"/>'
    points = [
        (
            left + 14 + (PANEL - 28) * (log10(number) - first) / (last - first),
            bottom - 14 - (PLOT - 34) * (log10(cost) - lowest) / DECADES,
        )
        for number, cost in zip(curve.numbers, curve.costs, strict=True)
    ]
    line, colour = " ".join(f"{x:.1f},{y:.1f}" for x, y in points), colours.curves["cost"]
    yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
    for (x, y), number, cost in zip(points, curve.numbers, curve.costs, strict=True):
        middle = "text-anchor='middle'"
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
        yield svg.text(x, y - 10, f"{cost:g}", colours.ink, 12, middle)
        yield svg.text(x, bottom + 18, f"{number:,.0f}", colours.faint, 11, middle)


if __name__ == "__main__":
    main()
