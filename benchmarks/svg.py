"""Spell the parts of SVG that the charts share. Knows no chart."""

from __future__ import annotations

from html import escape


def text(x: float, y: float, words: str, colour: str, size: int, more: str = "") -> str:
    """Words on a chart.

    :param size: Of the font, in pixels.
    :param more: Further attributes.
    """
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" {more}>'
        f"{escape(words)}</text>"
    )
