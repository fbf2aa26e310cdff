"""Counts of all workers of a host, on real servers, through the death of some."""

from __future__ import annotations

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.flask_app.test_many_workers import APP, Serve, eventually, get

pytestmark = pytest.mark.slow


def counted(url: str, route: str) -> dict[str, int]:
    """Requests of a route by status, as a scrape of any worker shows."""
    status, _, text = get(url, "/metrics")
    assert status == 200
    return {
        sample.labels["http_response_status_code"]: int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "http_server_request_duration_seconds_count"
        and sample.labels["http_route"] == route
    }


@pytest.mark.parametrize(("server", "kills"), [("gunicorn-gthread", 2), ("granian", 1)])
def test_every_worker_shows_what_clients_counted_through_a_kill(
    serve: Serve, server: str, kills: int
) -> None:
    """The counts of a killed worker stay, and the next one goes on with them."""
    url = serve(APP, server, workers=2, threads=8)
    seen: Counter[str] = Counter()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(kills):  # granian ends after two within a few seconds
            pids = list(pool.map(lambda _: get(url, "/worker")[2], range(60)))
            seen.update(pids)
            victim = max(set(pids), key=pids.count)
            os.kill(int(victim), signal.SIGKILL)
            eventually(lambda: _answers(url), True)
    total = sum(seen.values())
    found = {counted(url, "/worker").get("200", 0) for _ in range(6)}
    assert found == {total}


def _answers(url: str) -> bool:
    """Whether requests are answered again; a kill resets connections."""
    try:
        return all(get(url, "/probe")[0] == 200 for _ in range(4))
    except OSError:
        return False
