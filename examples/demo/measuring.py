"""Measure many simultaneous waits against the API and against stock Flask, from outside both.

A browser opens six connections to a server at most, so the page has its own server do this.
"""

from __future__ import annotations

from typing import Any

from examples.demo.load import Answer, simultaneously
from examples.demo.origins import Origins
from examples.demo.parameters import seconds_to_wait, whole_number
from examples.demo.sizes import MOST_WAITS
from flask import Blueprint, current_app
from werkzeug.exceptions import BadGateway

measuring = Blueprint("measuring", __name__, url_prefix="/measure")


@measuring.post("/flask-concurrency")
def flask_concurrency() -> dict[str, Any]:
    return _measure(_origins().api)


@measuring.post("/stock-flask")
def stock_flask() -> dict[str, Any]:
    return _measure(_origins().stock)


def _measure(origin: str) -> dict[str, Any]:
    requests = whole_number("requests", default=200, least=1, most=MOST_WAITS)
    seconds = seconds_to_wait()
    try:
        # Once before: both servers shall have their threads, and ours its loop.
        before = simultaneously(f"{origin}/wait?seconds=0", requests=requests)
        answers = simultaneously(f"{origin}/wait?seconds={seconds}", requests=requests)
    except OSError as error:
        raise BadGateway(f"{origin} does not answer: {error}") from None
    return summary(answers, before=before)


def summary(answers: list[Answer], *, before: list[Answer]) -> dict[str, Any]:
    """What the page draws.

    :param before: Answers of an earlier run; what processor time the servers had used by then.

    :returns: ``seconds`` until the last answer; ``waits``, a pair of instants each; how many
        event ``loops`` and ``processes`` took part; ``cpu``, processor seconds the servers used;
        ``failed``, how many requests got no answer or a refusal.
    """
    good = [answer for answer in answers if answer.status == 200]
    used = _processor_times(good)
    used_before = _processor_times([answer for answer in before if answer.status == 200])
    return {
        "seconds": max((answer.answered for answer in good), default=0.0),
        "waits": [[a.sent, a.answered] for a in sorted(good, key=lambda a: a.answered)],
        "loops": len({(a.content["process"], a.content["loop"]) for a in good}),
        "processes": len(used),
        "cpu": sum(seconds - used_before.get(process, 0.0) for process, seconds in used.items()),
        "failed": len(answers) - len(good),
    }


def _processor_times(answers: list[Answer]) -> dict[int, float]:
    """The last reading each process took of its own processor time, in seconds."""
    times: dict[int, float] = {}
    for answer in answers:
        process, seconds = answer.content["process"], answer.content["cpu"]
        times[process] = max(seconds, times.get(process, 0.0))
    return times


def _origins() -> Origins:
    origins: Origins = current_app.config["ORIGINS"]
    return origins
