"""``flask concurrency tune`` on an app of known bottlenecks, served for real."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import until

import process_watching as watching
from flask_concurrency.flask_app.settings import UNLIMITED

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
APPS = ROOT / "tests" / "apps"


def tune(
    *arguments: str, answer: str = "", app: str = "five_bottlenecks", directory: Path = APPS
) -> Any:
    """Run the command as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", app, "concurrency", "tune", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": f"{directory}:{ROOT}"},
        input=answer,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.skipif(
    "TUNE_FOR_REAL" not in os.environ,
    reason="what it measures needs both processors; set TUNE_FOR_REAL=1 where they are free",
)
@pytest.mark.timeout(120)
def test_the_bottlenecks_of_five_routes_are_found(tmp_path: Path) -> None:
    """Each is named, and the limit is of its size, although the app's own limits would refuse.

    ``./scripts/bench tune`` compares the advice with the best of all settings.
    """
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
    lock, pool, waits = (routes[path] for path in ("/lock", "/pool", "/waits"))
    assert lock["workers"] == 1, "all of them share the lock"
    assert lock["in_flight"] <= 2
    assert pool["places"] == 4
    assert pool["workers"] == pool["together"]["workers"], "each has a pool of its own"
    assert 1 <= pool["in_flight"] / (pool["workers"] * 4) <= 2
    assert waits["in_flight"] >= 64
    for route in routes.values():
        assert route["threads"] * route["workers"] > route["in_flight"]
    page = html.read_text()
    assert page.count("<svg") == 5
    assert not re.search(r"(?:src|href)=|url\(|@import", page), "it needs no other file"


def test_an_app_that_answers_with_errors_is_said_to() -> None:
    """It exits with 1, and says what came."""
    told = tune("/broken", "--yes", "--budget", "4")
    assert told.returncode == 1
    assert "/broken does not answer well enough to be measured" in told.stderr
    assert "x 500" in told.stderr


def test_a_route_that_never_answers_is_said_to() -> None:
    """After the time that it was given, and not after that of a patient client."""
    told = tune("/never", "--yes", "--budget", "4")
    assert told.returncode == 1
    assert "/never does not answer well enough to be measured: 1 x no answer" in told.stderr


def test_nothing_is_sent_before_it_is_asked() -> None:
    """What a view does it does for real."""
    told = tune("--budget", "60", answer="n\n")
    assert told.returncode == 1
    assert (
        "Send GET requests for 60 s to /both, /broken, /computes, /lock, /never, /pool, /waits"
        in (told.stderr)
    )


def test_an_app_whose_start_fails_is_a_clear_error() -> None:
    """And no server is left."""
    told = tune("/", "--yes", app="no_such_app")
    assert told.returncode != 0
    assert "no_such_app" in told.stderr


def test_an_app_that_starts_only_here_is_a_clear_error(tmp_path: Path) -> None:
    """What it says when it is served is shown, and no traceback of ours."""
    (tmp_path / "shop.py").write_text(
        "import os\n"
        "from flask import Flask\n"
        "from flask_concurrency import Concurrency\n"
        f"if {UNLIMITED!r} in os.environ: raise RuntimeError('no database')\n"
        "app = Flask(__name__)\n"
        "Concurrency(app)\n"
        "app.get('/')(str)\n"
    )
    told = tune("/", "--yes", app="shop", directory=tmp_path)
    assert told.returncode == 1
    assert "The app does not start under load" in told.stderr
    assert "no database" in told.stderr
    assert "tune/command.py" not in told.stderr


def test_a_service_manager_that_ends_it_ends_its_servers(tmp_path: Path) -> None:
    """They are in a session of their own, which SIGTERM does not reach."""
    asked = tmp_path / "asked"
    (tmp_path / "shop.py").write_text(
        "from pathlib import Path\n"
        "from flask import Flask\n"
        "from flask_concurrency import Concurrency\n"
        "app = Flask(__name__)\n"
        "Concurrency(app)\n"
        f"app.get('/')(lambda: str(Path({str(asked)!r}).touch()))\n"
    )
    tuning = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "shop", "concurrency", "tune", "/", "--yes"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(asked.exists)
    servers = watching.descendants(tuning.pid)
    assert servers
    tuning.terminate()
    assert tuning.wait(30) == 128 + signal.SIGTERM
    left = watching.wait_until_gone(servers, within=1.0)
    for server in left:
        os.kill(server, signal.SIGKILL)
    assert not left
