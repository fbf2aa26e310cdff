"""Four reports at once are four for all workers of a server, and a slow reader holds one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest
import requests

TEN_YEARS = "/orders.csv?days=3650"
"""Far more than a socket holds, so the server waits for its reader."""


@pytest.mark.slow
def test_four_readers_hold_the_places_of_both_workers(serve: Callable[..., str]) -> None:
    """A fifth waits in vain, health is well, and a reader that leaves makes room."""
    url = serve("examples/reports/app", "gunicorn-gthread", workers=2, threads=8)

    # Even if one worker has all four readers, it has a thread for the fifth.
    with ExitStack() as leaving:
        readers = [
            leaving.enter_context(requests.get(url + TEN_YEARS, stream=True, timeout=10))
            for _ in range(4)
        ]
        fifth = requests.get(url + "/orders.csv?days=1", timeout=10)
        health = requests.get(url + "/health", timeout=10)
        readers[0].close()
        sixth = requests.get(url + "/orders.csv?days=1", timeout=10)

    assert [reader.status_code for reader in readers] == [200] * 4
    assert fifth.status_code == 503
    assert fifth.json()["violated-policies"] == ["route:4 in flight"]
    assert health.text == "ok"
    assert sixth.status_code == 200
    assert len(sixth.text.splitlines()) == 401
