"""Say what two limiters did with the same requests. Knows neither of them."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask
from werkzeug.test import TestResponse


@dataclass(frozen=True)
class Difference:
    """What came of the same requests.

    :ivar what: The limits and the requests.
    :ivar theirs: What came of it with Flask-Limiter.
    :ivar ours: What came of it here.
    """

    what: str
    theirs: str
    ours: str

    def __str__(self) -> str:
        rows = {"Flask-Limiter": self.theirs, "Flask-Concurrency": self.ours}
        return "\n".join([self.what, *(f"    {who:<18} {said}" for who, said in rows.items()), ""])


def ask(
    app: Flask, times: int = 1, path: str = "/", method: str = "GET", address: str = "192.0.2.7"
) -> list[TestResponse]:
    """Send so many requests, one after the other."""
    client = app.test_client()
    client.environ_base["REMOTE_ADDR"] = address
    return [client.open(path, method=method) for _ in range(times)]


def refused(answers: list[TestResponse]) -> int:
    """How many of the answers are refusals."""
    return sum(answer.status_code in (429, 503) for answer in answers)


def admitted(answers: list[TestResponse]) -> int:
    """How many of the answers are none."""
    return len(answers) - refused(answers)
