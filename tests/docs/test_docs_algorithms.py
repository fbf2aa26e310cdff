"""The timelines of the page on algorithms are what the policies decide."""

from __future__ import annotations

import re
from typing import Any

from flask_concurrency import Rate
from flask_concurrency.policies.policy import policy_for
from flask_concurrency.vocabulary.limits import ALGORITHMS

PAGE = "docs/explanation/algorithms.md"
HEAD = "   at  asked  admitted  left  next in"
ROW = re.compile(r"^ *(?P<at>[\d.]+) s +(?P<asked>\d+)", re.MULTILINE)


def timeline(written: str, requests: list[tuple[float, int]]) -> str:
    """What a rate decides about so many requests at each instant, as the page shows it."""
    rate: Rate = eval(written, {"Rate": Rate})
    policy = policy_for(rate)
    state = None
    rows = [written, HEAD]
    for at, asked in requests:
        admitted = 0
        for _ in range(asked):
            state, outcome = policy.take(state, at, 1)
            admitted += outcome.admitted
        _, next_one = policy.take(state, at, 1)
        wait = "now" if next_one.admitted else f"{next_one.retry_after:g} s"
        rows.append(f"{at:3g} s  {asked:5}  {admitted:8}  {outcome.remaining:4}  {wait:>7}")
    return "\n".join(rows) + "\n"


def shown(pages: dict[str, Any]) -> list[str]:
    """The timelines of the page."""
    return [block for block in pages[PAGE].blocks("text") if block.startswith("Rate(")]


def test_every_algorithm_has_a_timeline(pages: dict[str, Any]) -> None:
    """None is only described."""
    assert {
        rate.algorithm
        for block in shown(pages)
        for rate in [eval(block.splitlines()[0], {"Rate": Rate})]
    } == set(ALGORITHMS) - {"moving-window"}, "another name of the default"


def test_every_timeline_is_what_the_policy_decides(pages: dict[str, Any]) -> None:
    """The page's instants and requests, decided anew, give the page's numbers."""
    for block in shown(pages):
        requests = [(float(row["at"]), int(row["asked"])) for row in ROW.finditer(block)]
        assert timeline(block.splitlines()[0], requests) == block


def test_all_algorithms_are_shown_the_same_requests(pages: dict[str, Any]) -> None:
    """So that a reader can lay the first timelines side by side."""
    first: dict[str, list[tuple[str, ...]]] = {}
    for block in shown(pages):
        first.setdefault(block.splitlines()[0], [found.groups() for found in ROW.finditer(block)])
    requests = [
        timed
        for written, timed in first.items()
        if "5/minute" in written and "burst" not in written
    ]

    assert len(requests) == len(ALGORITHMS) - 1
    assert all(timed == requests[0] for timed in requests)


def test_a_large_quota_is_kept_in_the_period_that_is_told(pages: dict[str, Any]) -> None:
    """A client that asks for 64 in each 62 seconds is never refused."""
    assert "64 in each 62 seconds" in pages[PAGE].text
    policy = policy_for(Rate("64/minute"))
    state = None
    for start in range(10):
        for number in range(64):
            state, outcome = policy.take(state, 62.0 * start + number / 100.0, 1)
            assert outcome.admitted
