"""Every way to see what an app counts shows the same, through the death of a worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.flask_app.test_many_workers import Serve, eventually, get

pytestmark = pytest.mark.slow

APPS = Path(__file__).parents[1] / "apps"
LIMIT = "route:5/hour"


def of_metrics(url: str) -> dict[str, int]:
    """What Prometheus reads."""
    return {
        sample.labels["result"]: int(sample.value)
        for family in text_string_to_metric_families(get(url, "/metrics")[2])
        for sample in family.samples
        if sample.name == "flask_concurrency_limit_requests_total"
        and sample.labels["limit"] == LIMIT
    }


def of_snapshot(url: str) -> dict[str, int]:
    """What code reads."""
    return _of_decisions(json.loads(get(url, "/snapshot")[2]))


def of_dashboard(url: str) -> dict[str, int]:
    """What a person reads."""
    limits = json.loads(get(url, "/_concurrency/data.json")[2])["limits"]
    found: dict[str, int] = next(row["results"] for row in limits if row["limit"] == LIMIT)
    return found


def of_status(runtime: Path) -> dict[str, int]:
    """What a script reads."""
    return _of_decisions(status("shop_with_dashboard", runtime))


def status(app: str, runtime: Path) -> dict[str, Any]:
    """What ``status --json`` prints of an app whose processes have their files there."""
    told = subprocess.run(
        [sys.executable, "-m", "flask", "--app", app, "concurrency", "status", "--json"],
        cwd=APPS,
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    found: dict[str, Any] = json.loads(told.stdout)
    return found


@pytest.mark.parametrize("server", ["gunicorn-gthread", "granian"])
def test_all_show_what_clients_counted_although_a_worker_was_killed(
    serve: Serve, server: str, tmp_path: Path
) -> None:
    """Metrics, snapshots, the command and the page, from whichever worker."""
    url = serve("tests/apps/shop_with_dashboard", server, workers=2, threads=8)
    seen: Counter[str] = Counter()

    def ask(_: int) -> int:
        return get(url, "/limited")[0]

    with ThreadPoolExecutor(4) as pool:
        for kills in (True, False):
            statuses = Counter(pool.map(ask, range(30)))
            seen["admitted"] += statuses[200]
            seen["over_quota"] += statuses[429]
            if kills:
                os.kill(int(get(url, "/worker")[2]), signal.SIGKILL)
                eventually(lambda: answers(url), True)
    expected = dict(seen)
    assert sum(expected.values()) == 60
    for _ in range(4):
        assert of_metrics(url) == expected
        assert of_snapshot(url) == expected
    assert of_status(tmp_path) == expected
    eventually(lambda: of_dashboard(url), expected)


def _of_decisions(snapshot: dict[str, list[dict[str, object]]]) -> dict[str, int]:
    found = next(each["results"] for each in snapshot["decisions"] if each["limit"] == LIMIT)
    assert isinstance(found, dict)
    return found


def answers(url: str) -> bool:
    """Whether a server answers again, whichever of its workers is asked."""
    try:
        return all(get(url, "/worker")[0] == 200 for _ in range(4))
    except OSError:
        return False
