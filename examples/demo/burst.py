"""Chapter 1, limit: the same work behind several limits, and behind none.

Decides which limits a visitor can try; the extension decides who is let in.
"""

from __future__ import annotations

import time

from examples.demo.extension import concurrency
from examples.demo.parameters import number
from flask import Blueprint

Answer = dict[str, float]

burst = Blueprint("burst", __name__, url_prefix="/burst")


@burst.get("/five-a-minute")
@concurrency.limit("5/minute")
def five_a_minute() -> Answer:
    return work()


@burst.get("/ten-in-ten-seconds")
@concurrency.limit("10 per 10 seconds")
def ten_in_ten_seconds() -> Answer:
    return work()


@burst.get("/four-in-flight")
@concurrency.limit("4 in flight")
def four_in_flight() -> Answer:
    return work()


@burst.get("/stacked")
@concurrency.limit("30/minute; 2 in flight")
def stacked() -> Answer:
    return work()


@burst.get("/no-limit")
@concurrency.exempt
def no_limit() -> Answer:
    return work()


def work() -> Answer:
    """Hold a thread of the server as long as the visitor asked, as a slow database would."""
    milliseconds = number("milliseconds", default=100, least=0, most=1000)
    time.sleep(milliseconds / 1000)
    return {"milliseconds": milliseconds}
