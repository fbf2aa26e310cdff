"""Draw the curves of ``which-for-what`` from its record, once for light pages and once for dark.

Decides how they look; measures nothing::

    ./scripts/bench which-for-what --json result.json
    .venv/bin/python -m benchmarks.which_for_what_chart result.json docs/images/which-for-what.svg

writes ``which-for-what.svg`` and ``which-for-what-dark.svg``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from functools import partial
from math import log2
from pathlib import Path
from typing import Any

from benchmarks import svg
from benchmarks.tables.which_for_what import (
    COUNTS,
    SEQUENTIAL,
    WAYS,
    WORKS,
    name_of,
    possible,
)

Ratios = Mapping[tuple[str, str], list[float]]
"""For each work and way, the time beside one after another, one value for each of ``COUNTS``."""

WIDTH, HEIGHT = 1060, 412
LEFT, GAP, PANEL, LABELS = 44, 36, 196, 118
TOP, PLOT = 112, 236
HIGHEST = 1.2
NEXT_LINE = 17
TITLES = {
    "waits": ("waits", "a database, another service"),
    "computes": ("computes in Python", "your own loops"),
    "computes in C": ("computes in C", "hashing, NumPy, Pillow"),
}


LIGHT = svg.light({"threads": "#1f6fb8", "processes": "#c4540f", "loop": "#1d8250"})
DARK = svg.dark({"threads": "#6db3f5", "processes": "#f59e57", "loop": "#62cf97"})


def main() -> None:
    """Read the record, write both drawings."""
    parser = argparse.ArgumentParser(prog="benchmarks.which_for_what_chart")
    parser.add_argument("record", type=Path, help="what scripts/bench --json wrote")
    parser.add_argument("svg", type=Path, help="where to draw; the dark one goes beside it")
    options = parser.parse_args()
    ratios = read_ratios(json.loads(options.record.read_text(encoding="utf-8")))
    svg.write_both(options.svg, partial(draw, ratios), light=LIGHT, dark=DARK)


def read_ratios(record: Mapping[str, Any]) -> Ratios:
    """Find the median ratios in a record.

    :raises KeyError: ``which-for-what`` was not measured, or one of its subjects failed.
    """
    found: dict[tuple[str, str], float] = {}
    for benchmark in record["benchmarks"]:
        for comparison in benchmark["comparisons"]:
            if comparison["ratio"] is not None:
                found[comparison["ours"], comparison["peer"]] = comparison["ratio"]["median"]
    return {
        (work, way): [
            found[name_of(work, way, tasks), name_of(work, SEQUENTIAL, tasks)] for tasks in COUNTS
        ]
        for work in WORKS
        for way in WAYS
        if way != SEQUENTIAL and possible(work, way)
    }


def draw(ratios: Ratios, colours: svg.Colours) -> str:
    """Draw a panel for each work, a curve for each way."""
    panels = [
        _panel(work, LEFT + number * (PANEL + LABELS + GAP), ratios, colours)
        for number, work in enumerate(WORKS)
    ]
    what = "Time for 1 to 16 tasks of 10 ms, beside one after another: lower is faster"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif">',
        f"<title>{what}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{colours.paper}"/>',
        svg.text(LEFT, 30, what, colours.faint, 14),
        *(line for panel in panels for line in panel),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _panel(work: str, left: float, ratios: Ratios, colours: svg.Colours) -> Iterable[str]:
    title, example = TITLES[work]
    yield svg.text(left, TOP - 36, title, colours.ink, 17, "font-weight='600'")
    yield svg.text(left, TOP - 17, example, colours.faint, 13)
    for level in (0.0, 0.5, 1.0):
        dashed = 'stroke-dasharray="5 4"' if level == 1.0 else ""
        colour = colours.faint if level == 1.0 else colours.grid
        yield (
            f'<line x1="{left}" x2="{left + PANEL}" y1="{_y(level)}" y2="{_y(level)}" '
            f'stroke="{colour}" {dashed}/>'
        )
        yield svg.text(
            left - 8, _y(level) + 4, f"{level:g}", colours.faint, 12, "text-anchor='end'"
        )
    for tasks in COUNTS:
        x = _x(left, tasks)
        yield svg.text(x, TOP + PLOT + 20, str(tasks), colours.faint, 12, "text-anchor='middle'")
    middle = left + PANEL / 2
    yield svg.text(middle, TOP + PLOT + 40, "tasks", colours.faint, 12, "text-anchor='middle'")
    curves = {way: ratios[work, way] for way in colours.curves if (work, way) in ratios}
    for way, values in curves.items():
        colour = colours.curves[way]
        points = [(_x(left, n), _y(value)) for n, value in zip(COUNTS, values, strict=True)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
        for x, y in points:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    for way, y in _apart({way: _y(values[-1]) for way, values in curves.items()}).items():
        label = f"{way} {curves[way][-1]:.2f}"
        yield svg.text(left + PANEL + 8, y + 4, label, colours.curves[way], 13, "font-weight='600'")


def _apart(heights: Mapping[str, float]) -> dict[str, float]:
    """Move labels down until none lies on another, and all of them up if one leaves the plot."""
    placed: dict[str, float] = {}
    lowest = float("-inf")
    for way, y in sorted(heights.items(), key=lambda item: item[1]):
        lowest = placed[way] = max(y, lowest + NEXT_LINE)
    return {way: y - max(0.0, lowest - TOP - PLOT) for way, y in placed.items()}


def _x(left: float, tasks: int) -> float:
    return left + 10 + (PANEL - 20) * log2(tasks) / log2(COUNTS[-1])


def _y(ratio: float) -> float:
    return TOP + PLOT * (1 - min(ratio, HIGHEST) / HIGHEST)


if __name__ == "__main__":
    main()
