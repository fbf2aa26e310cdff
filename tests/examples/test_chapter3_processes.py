"""The third chapter's app returns what its five tasks returned, on every server."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest
import requests
from flask import Flask

PRIMES = [1229, 1033, 983, 958, 930]
"""How many there are in each range of 10,000 numbers."""
LINE = re.compile(r"Task (?P<num>\d) found (?P<primes>\d+) primes in process (?P<pid>\d+)")


def read(lines: list[str]) -> tuple[list[tuple[int, int]], set[int]]:
    """The tasks' numbers and primes in the order returned, and the processes they ran in."""
    found = [match for line in lines if (match := LINE.fullmatch(line))]
    return (
        [(int(line["num"]), int(line["primes"])) for line in found],
        {int(line["pid"]) for line in found},
    )


@pytest.mark.slow
def test_five_tasks_return_in_order_from_other_processes(
    load_chapter: Callable[[str], Flask],
) -> None:
    """The counts are right, and none was made in the process that answers."""
    app = load_chapter("chapter3_processes")

    lines = app.test_client().get("/").get_json()

    counted, processes = read(lines)
    assert counted == list(enumerate(PRIMES))
    assert os.getpid() not in processes


@pytest.mark.slow
@pytest.mark.parametrize("server", ["gunicorn-sync", "gunicorn-gthread", "granian"])
def test_on_a_real_server_five_tasks_on_processes_return_in_order(
    serve: Callable[..., str], server: str
) -> None:
    """The same from two workers, and the processes of one request serve the next."""
    url = serve("examples/tutorial/chapter3_processes", server, workers=2)

    answers = [read(requests.get(url, timeout=30).json()) for _ in range(6)]

    assert [counted for counted, _ in answers] == [list(enumerate(PRIMES))] * 6
    used = set().union(*(processes for _, processes in answers))
    at_most = 2 * len(os.sched_getaffinity(0))  # each worker has a pool of its own
    assert len(used) <= at_most
