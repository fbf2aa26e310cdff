"""The first chapter's app keeps every promise its page makes."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import requests
from flask import Flask

SERVERS = ["gunicorn-sync", "gunicorn-gthread", "granian"]
REMAINING = re.compile(r'"(?P<name>[^"]+)";r=(?P<left>\d+)')


def left(ratelimit: str) -> dict[str, int]:
    """What a ``RateLimit`` field says is left, by policy."""
    return {found["name"]: int(found["left"]) for found in REMAINING.finditer(ratelimit)}


def test_the_sixth_hello_within_a_minute_is_refused(load_chapter: Callable[[str], Flask]) -> None:
    """Five are greeted, the sixth gets the time to come back."""
    client = load_chapter("chapter1_limits").test_client()

    answers = [client.get("/") for _ in range(6)]

    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[0].text == "Hello, World!"
    assert answers[5].mimetype == "application/problem+json"
    assert int(answers[5].headers["Retry-After"]) > 0


def test_the_decorator_adds_to_the_defaults(load_chapter: Callable[[str], Flask]) -> None:
    """Every answer reports the day, the hour and the minute."""
    answer = load_chapter("chapter1_limits").test_client().get("/")

    assert left(answer.headers["RateLimit"]) == {
        "default:100/day": 99,
        "default:10/hour": 9,
        "route:5/minute": 4,
    }


def test_a_third_report_at_once_is_refused(
    load_chapter: Callable[[str], Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two reports are being made; the third is answered 503 at once, and a later one is served."""
    app = load_chapter("chapter1_limits")
    both_inside = threading.Barrier(3)
    may_go = threading.Event()

    def work(seconds: float) -> None:
        both_inside.wait(5)
        assert may_go.wait(5)

    monkeypatch.setattr("chapter1_limits.time", SimpleNamespace(sleep=work))

    def ask() -> int:
        return app.test_client().get("/report").status_code

    with ThreadPoolExecutor(2) as clients:
        first_two = [clients.submit(ask) for _ in range(2)]
        both_inside.wait(5)
        third = ask()
        may_go.set()

    assert third == 503
    assert [asked.result() for asked in first_two] == [200, 200]
    monkeypatch.setattr("chapter1_limits.time", SimpleNamespace(sleep=lambda seconds: None))
    assert ask() == 200


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_on_a_real_server_a_refusal_spends_nothing_of_the_hour(
    serve: Callable[..., str], server: str
) -> None:
    """Two workers refuse the 6th and 7th; when the minute is over, five of the hour are left."""
    url = serve("examples/tutorial/chapter1_limits", server, workers=2)

    answers = [requests.get(url, timeout=10) for _ in range(7)]

    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    sixth, seventh = answers[5:]
    assert sixth.headers["Content-Type"] == "application/problem+json"
    assert 0 < int(sixth.headers["Retry-After"]) <= 120
    problem = sixth.json()
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert problem["status"] == 429
    assert problem["violated-policies"] == ["route:5/minute"]
    for refused in (sixth, seventh):
        assert left(refused.headers["RateLimit"]) == {
            "default:100/day": 95,
            "default:10/hour": 5,
            "route:5/minute": 0,
        }


@pytest.mark.slow
@pytest.mark.parametrize("server", ["gunicorn-gthread", "granian"])
def test_on_a_real_server_never_more_than_two_reports_at_once(
    serve: Callable[..., str], server: str
) -> None:
    """Of four at the same time two are served and two refused; afterwards there is room again."""
    url = serve("examples/tutorial/chapter1_limits", server, workers=2) + "/report"

    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda _: requests.get(url, timeout=10), range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503]
    assert requests.get(url, timeout=10).status_code == 200
