"""What the page offers a visitor to choose from. Knows no view's inside."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LimitChoice:
    """A limit to send a burst against, and the view behind it."""

    view: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """A region of the Mandelbrot set worth seeing."""

    name: str
    x: float
    y: float
    zoom: float
    iterations: int


LIMITS = (
    LimitChoice("five_a_minute", "/burst/five-a-minute", "5/minute"),
    LimitChoice("ten_in_ten_seconds", "/burst/ten-in-ten-seconds", "10 per 10 seconds"),
    LimitChoice("four_in_flight", "/burst/four-in-flight", "4 in flight"),
    LimitChoice("stacked", "/burst/stacked", "30/minute; 2 in flight"),
)

PLACES = (
    Place("Seahorse tail", -0.7435669, 0.1314023, 900, 500),
    Place("Wheel of spirals", -0.748, 0.1, 1200, 400),
    Place("Starred branch", -0.16, 1.035, 25, 150),
    Place("Needle", 0.285, 0.0118, 60, 250),
    Place("The whole set", -0.6, 0, 1, 100),
)
