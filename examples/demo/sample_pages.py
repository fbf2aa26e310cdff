"""Pages worth waiting for: each answers as late as its URL asks. Knows nothing of who fetches."""

from __future__ import annotations

import time

from examples.demo.parameters import number
from flask import Blueprint, render_template

SUBJECTS = (
    "The kettle",
    "The lift",
    "The post office",
    "The traffic light",
    "The download",
    "The tide",
    "The dentist",
    "The harvest",
)
MOST_PAGES = 99

sample_pages = Blueprint("sample_pages", __name__, url_prefix="/pages")


@sample_pages.get(f"/<int(min=1, max={MOST_PAGES}):page>")
def sample_page(page: int) -> str:
    """One page, after ``delay`` seconds."""
    delay = number("delay", default=0.2, least=0, most=2)
    time.sleep(delay)
    subject = SUBJECTS[(page - 1) % len(SUBJECTS)]
    return render_template("sample_page.html", page=page, subject=subject, delay=delay)
