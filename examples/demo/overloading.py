"""Overload the small app that is served twice, and stream to the page what each still answers.

A browser opens six connections to a server at most, so the page has its own server do this.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from examples.demo.open_loop import counted
from examples.demo.origins import Origins
from examples.demo.overloaded import CAPACITY, DEADLINE
from examples.demo.parameters import number
from flask import Blueprint, Response, current_app

overloading = Blueprint("overloading", __name__, url_prefix="/overload")


@overloading.post("/load")
def load() -> Response:
    """Lines of JSON: seconds since the beginning, and what came of the requests to each app."""
    times = number("times", default=3, least=0.5, most=5)
    seconds = number("seconds", default=6, least=0.5, most=20)
    origins: Origins = current_app.config["ORIGINS"]
    urls = {"usual": f"{origins.without}/work", "ours": f"{origins.with_it}/work"}

    def lines() -> Iterator[str]:
        found = counted(urls, rate=times * CAPACITY, seconds=seconds, deadline=DEADLINE)
        for counts in found:
            yield json.dumps(counts) + "\n"

    return Response(lines(), mimetype="application/x-ndjson")
