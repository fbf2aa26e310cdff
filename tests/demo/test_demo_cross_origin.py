"""A page of another origin reads refusals in Chromium, and its preflights spend nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from examples.demo.visitor import Visitor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CALL = """
    const [path, number, done] = arguments;
    fetch(`${document.body.dataset.api}${path}&call=${number}`, {
      cache: "no-store",
      headers: { "X-Demo": "makes the browser ask first" },
    }).then(
      (answer) => done({
        status: answer.status,
        retryAfter: answer.headers.get("Retry-After"),
        rateLimit: answer.headers.get("RateLimit"),
      }),
      (error) => done({ status: 0, error: String(error) }),
    );
"""


def call(visitor: Visitor, path: str, number: int) -> dict[str, Any]:
    """Call the API from the page with a header that needs a preflight; each URL is a new one."""
    answer: dict[str, Any] = visitor.driver.execute_async_script(CALL, path, number)
    return answer


def preflights(visitor: Visitor) -> int:
    """How many preflights Chromium has sent since the last time."""
    events = [json.loads(e["message"])["message"] for e in visitor.logged("performance")]
    return sum(
        event["method"] == "Network.requestWillBeSent"
        and event["params"]["request"]["method"] == "OPTIONS"
        for event in events
    )


def test_a_page_of_another_origin_reads_when_to_come_back(visitor: Visitor) -> None:
    """Every call has its preflight, five are admitted, the sixth gets the time to try again."""
    preflights(visitor)

    answers = [call(visitor, "/burst/five-a-minute?milliseconds=0", n) for n in range(11)]

    assert preflights(visitor) == 11
    statuses = [answer["status"] for answer in answers]
    assert statuses == [200] * 5 + [429] * 6
    for number, answer in enumerate(answers[:5]):
        assert f'"route:5/minute";r={4 - number};' in answer["rateLimit"]
        assert answer["retryAfter"] is None
    for answer in answers[5:]:
        assert 1 <= int(answer["retryAfter"]) <= 120


def test_a_page_that_nobody_named_reads_nothing(visitor: Visitor) -> None:
    """From any other origin the browser keeps the answer to itself."""
    api = visitor.script("return document.body.dataset.api")
    visitor.driver.get("data:text/html,<body data-api='" + api + "'>")

    answer = call(visitor, "/burst/no-limit?milliseconds=0", 0)

    assert answer["status"] == 0
    visitor.logged("browser")
