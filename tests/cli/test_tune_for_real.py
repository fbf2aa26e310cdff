"""``flask concurrency tune`` on an app of known bottlenecks, served for real."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

APPS = Path(__file__).parents[1] / "apps"


def tune(*arguments: str, answer: str = "", app: str = "five_bottlenecks") -> Any:
    """Run the command as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", app, "concurrency", "tune", *arguments],
        cwd=APPS,
        env={**os.environ, "PYTHONPATH": str(APPS)},
        input=answer,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.timeout(120)
def test_the_bottlenecks_of_five_routes_are_found(tmp_path: Path) -> None:
    """Each is named, and the limit is its size, although the app's own limits would refuse."""
    html = tmp_path / "report.html"
    paths = ("/computes", "/both", "/lock", "/pool", "/waits")
    told = tune(*paths, "--yes", "--json", "--budget", "50", "--html", str(html))
    assert told.returncode == 0, told.stderr
    routes = {route["path"]: route for route in json.loads(told.stdout)["routes"]}
    bounds = {path: route["bound"] for path, route in routes.items()}
    assert bounds == {
        "/computes": "interpreter",
        "/both": "interpreter",
        "/lock": "pool",
        "/pool": "pool",
        "/waits": "waiting",
    }, json.dumps(routes, indent=1)
    assert routes["/lock"]["in_flight"] == 1
    assert routes["/pool"]["in_flight"] == 4
    page = html.read_text()
    assert page.count("<svg") == 5
    assert not re.search(r"(?:src|href)=|url\(|@import", page), "it needs no other file"


def test_an_app_that_answers_with_errors_is_said_to() -> None:
    """It exits with 1, and says what came."""
    told = tune("/broken", "--yes", "--budget", "4")
    assert told.returncode == 1
    assert "/broken does not answer well enough to be measured" in told.stderr
    assert "x 500" in told.stderr


def test_nothing_is_sent_before_it_is_asked() -> None:
    """What a view does it does for real."""
    told = tune("--budget", "60", answer="n\n")
    assert told.returncode == 1
    assert "Send GET requests for 60 s to /both, /broken, /computes, /lock, /pool, /waits" in (
        told.stderr
    )


def test_an_app_whose_start_fails_is_a_clear_error() -> None:
    """And no server is left."""
    told = tune("/", "--yes", app="no_such_app")
    assert told.returncode != 0
    assert "no_such_app" in told.stderr
