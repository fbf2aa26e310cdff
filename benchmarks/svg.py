"""Spell the parts of SVG that the charts share, for light pages and for dark. Knows no chart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Colours:
    """What a drawing is painted with.

    :ivar curves: Each curve's, by what it shows.
    """

    paper: str
    ink: str
    faint: str
    grid: str
    curves: Mapping[str, str]


def light(curves: Mapping[str, str]) -> Colours:
    """Curves on a light page."""
    return Colours("#ffffff", "#1c1e21", "#666b73", "#e3e5e8", curves)


def dark(curves: Mapping[str, str]) -> Colours:
    """Curves on a dark page."""
    return Colours("#0f1115", "#eceef1", "#9aa0aa", "#2a2e36", curves)


def write_both(
    path: Path, draw: Callable[[Colours], str], *, light: Colours, dark: Colours
) -> None:
    """Write a drawing for light pages, and beside it that for dark ones."""
    for place, colours in ((path, light), (path.with_name(f"{path.stem}-dark.svg"), dark)):
        place.write_text(draw(colours), encoding="utf-8")
        print(place)


def text(x: float, y: float, words: str, colour: str, size: int, more: str = "") -> str:
    """Words on a chart.

    :param size: Of the font, in pixels.
    :param more: Further attributes.
    """
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" {more}>'
        f"{escape(words)}</text>"
    )
