"""Draw what an app answers in time as more comes, with and without limits.

Simulated, so that it is the same on every machine::

    .venv/bin/python -m benchmarks.overload.chart docs/images/overload.svg

writes ``overload.svg`` and ``overload-dark.svg``, for light and for dark pages.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import svg
from benchmarks.overload.simulation import Make, Simulation, mix, pool
from flask_concurrency.policies.late_guard import Entry
from flask_concurrency.policies.overload import OverloadGuards

CAPACITY = 200.0
DEADLINE = 0.5
LOADS = (0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
SECONDS = 9.0

WAYS = ("no limit", "8 in flight", "16 in flight", "adaptive")
PANELS: tuple[tuple[str, str, Make, int | None], ...] = (
    ("16 threads", "5 ms of computing, 45 ms of waiting", mix, 16),
    ("64 threads", "a pool of 10 connections, 50 ms each", pool, 64),
    ("an event loop", "a pool of 10 connections, 50 ms each", pool, None),
)

WIDTH, HEIGHT = 1060, 380
LEFT, GAP, PANEL, LABELS = 44, 36, 196, 118
TOP, PLOT = 112, 204
NEXT_LINE = 17


LIGHT = svg.light(dict(zip(WAYS, ("#8a919b", "#1f6fb8", "#c4540f", "#0f766e"), strict=True)))
DARK = svg.dark(dict(zip(WAYS, ("#7d848f", "#6db3f5", "#f59e57", "#2cc4b1"), strict=True)))


class FixedCap:
    """A limit of so many in flight, in place of the guards; ``None`` for none."""

    def __init__(self, most: int | None) -> None:
        self.most = most
        self.in_flight = 0
        self.late = self

    def refuses(self, now: float, age: float, priority: str, key: int | None) -> str | None:
        """Whether the places are taken."""
        return "cap" if self.most is not None and self.in_flight >= self.most else None

    def enter(self, now: float, age: float, deadline: float | None) -> Entry:
        """Take a place."""
        self.in_flight += 1
        return Entry(now, age, DEADLINE, self.in_flight)

    def leave(self, entry: Entry, now: float) -> None:
        """Give it back."""
        self.in_flight -= 1


def guards_of(way: str) -> Any:
    """What stands before the app."""
    if way == "adaptive":
        return OverloadGuards(DEADLINE)
    return FixedCap(None if way == "no limit" else int(way.split()[0]))


def answered(work: Make, threads: int | None, way: str, load: float) -> float:
    """Answers in time, as a share of the capacity."""
    found = Simulation(
        work,
        lambda now: CAPACITY * load,
        guards=guards_of(way),
        threads=threads,
        deadline=DEADLINE,
        seconds=SECONDS,
        refusal=0.0001,
    ).run()
    return found.good_per_second / CAPACITY


def curves() -> list[dict[str, list[float]]]:
    """For each panel and way, one value for each load."""
    return [
        {way: [answered(work, threads, way, load) for load in LOADS] for way in WAYS}
        for _, _, work, threads in PANELS
    ]


def draw(found: list[dict[str, list[float]]], colours: svg.Colours) -> str:
    """Draw a panel for each server, a curve for each way."""
    what = "Answered within half a second as more comes, in capacities of the app (simulated)"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif">',
        f"<title>{what}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{colours.paper}"/>',
        svg.text(LEFT, 30, what, colours.faint, 14),
    ]
    for number, (panel, values) in enumerate(zip(PANELS, found, strict=True)):
        left = LEFT + number * (PANEL + LABELS + GAP)
        lines += _panel(panel[0], panel[1], left, values, colours)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(
    title: str, example: str, left: float, values: dict[str, list[float]], colours: svg.Colours
) -> Iterator[str]:
    yield svg.text(left, TOP - 36, title, colours.ink, 17, "font-weight='600'")
    yield svg.text(left, TOP - 17, example, colours.faint, 13)
    for level in (0.0, 0.5, 1.0):
        yield (
            f'<line x1="{left}" x2="{left + PANEL}" y1="{_y(level):.1f}" y2="{_y(level):.1f}" '
            f'stroke="{colours.grid}"/>'
        )
        yield svg.text(
            left - 8, _y(level) + 4, f"{level:g}", colours.faint, 12, "text-anchor='end'"
        )
    for load in (1, 2, 3, 5):
        yield svg.text(
            *(_x(left, load), TOP + PLOT + 20, f"{load}×", colours.faint, 12),
            "text-anchor='middle'",
        )
    for way, line in values.items():
        points = " ".join(
            f"{_x(left, load):.1f},{_y(value):.1f}" for load, value in zip(LOADS, line, strict=True)
        )
        width = 3.5 if way == "adaptive" else 2
        yield (
            f'<polyline points="{points}" fill="none" stroke="{colours.curves[way]}" '
            f'stroke-width="{width}"/>'
        )
    highest = float(TOP + PLOT + NEXT_LINE)
    for y, way in sorted(((_y(line[-1]), way) for way, line in values.items()), reverse=True):
        highest = min(y, highest - NEXT_LINE)  # no label lies on another
        more = "font-weight='600'" if way == "adaptive" else ""
        yield svg.text(left + PANEL + 8, highest + 4, way, colours.curves[way], 13, more)


def _x(left: float, load: float) -> float:
    return left + PANEL * load / LOADS[-1]


def _y(share: float) -> float:
    return TOP + PLOT * (1 - min(share, 1.1) / 1.1)


def main() -> None:
    """Write both drawings."""
    parser = argparse.ArgumentParser(prog="benchmarks.overload.chart")
    parser.add_argument("svg", type=Path, help="where to draw; the dark one goes beside it")
    path: Path = parser.parse_args().svg
    svg.write_both(path, partial(draw, curves()), light=LIGHT, dark=DARK)


if __name__ == "__main__":
    main()
