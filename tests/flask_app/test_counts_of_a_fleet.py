"""An app on several hosts: each shows what all of them have counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from tests.flask_app.test_many_workers import Serve, eventually, get
from tests.flask_app.test_sums_of_many_workers import APPS, answers, status
from tests.stores.conftest import RedisServer

from flask_concurrency import Concurrency
from flask_concurrency.vocabulary.errors import StoreError


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """What the hosts share."""
    with RedisServer() as server:
        yield server


def make_host(store: str, *, counts: bool = True) -> tuple[Flask, Concurrency]:
    """A host; an app that is tested shares no file, so each is one by itself."""
    app = Flask("shop")
    app.testing = True
    app.config["CONCURRENCY_COUNTS"] = counts
    concurrency = Concurrency(app, store=store)

    @app.get("/")
    @concurrency.limit("3/hour")
    def home() -> str:
        return "home"

    return app, concurrency


def tell(app: Flask) -> None:
    """What a thread does each second."""
    fleet = app.extensions["concurrency"].counters._fleet_counts()
    assert fleet.write()


def test_a_snapshot_shows_what_all_hosts_have_counted(server: RedisServer) -> None:
    """Beside what its own host has."""
    (one, here), (two, there) = make_host(server.url), make_host(server.url)
    for app in (one, two, two, two):
        app.test_client().get("/")
    tell(two)
    with one.app_context():
        found = here.snapshot()
    assert found.load is not None
    assert found.load.requests == 1
    fleet = found.fleet
    assert fleet is not None
    assert (fleet.hosts, fleet.load.requests, fleet.load.refused) == (2, 4, 1)
    assert [each.results for each in fleet.decisions] == [{"admitted": 3, "over_quota": 1}]
    with two.app_context():
        alone = there.snapshot().fleet
    assert alone is not None
    assert (alone.hosts, alone.load.requests) == (1, 3)


@pytest.mark.parametrize("store", ["memory://", None])
def test_an_app_without_such_a_server_has_no_fleet(store: str | None) -> None:
    """Its snapshot is of one host, or one process."""
    app, concurrency = make_host(store or "host://")
    app.test_client().get("/")
    with app.app_context():
        assert concurrency.snapshot().fleet is None


def test_an_app_that_counts_nothing_asks_for_nothing(server: RedisServer) -> None:
    """It would show the numbers of others as its own."""
    app, concurrency = make_host(server.url, counts=False)
    app.test_client().get("/")
    with app.app_context():
        assert concurrency.snapshot().fleet is None


def test_where_the_server_is_out_requests_go_on_and_a_snapshot_says_so(
    server: RedisServer,
) -> None:
    """As it does of limits."""
    app, concurrency = make_host(server.url)
    assert app.test_client().get("/").status_code == 200
    server.kill()
    assert app.test_client().get("/").status_code == 200
    with app.app_context(), pytest.raises(StoreError):
        concurrency.snapshot()
    app.extensions["concurrency"].store.close()


@pytest.mark.slow
def test_two_hosts_show_what_clients_counted_although_a_worker_was_killed(
    serve: Serve, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each host has files of its own; the one that told for its host dies in between."""
    monkeypatch.setenv("STORE_OF_THE_FLEET", server.url)
    seen: Counter[int] = Counter()
    one = serve("tests/apps/shop_of_a_fleet", "gunicorn-gthread", workers=2)
    with monkeypatch.context() as patch:
        two_files = tmp_path / "two"
        two_files.mkdir(mode=0o700)
        patch.setenv("XDG_RUNTIME_DIR", str(two_files))
        app = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "shop_of_a_fleet:app"],
            cwd=APPS,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    try:
        assert app.stderr is not None
        two = next(line for line in app.stderr if "Listening at" in line).split()[-2]
        for url in (one, two, one):
            seen.update(get(url, "/limited")[0] for _ in range(10))
            os.kill(int(get(one, "/worker")[2]), signal.SIGKILL)
            eventually(lambda: answers(one), True)
        assert seen == {200: 20, 429: 10}
        for files in (tmp_path, two_files):
            eventually(lambda: _fleet(files), (2, {"admitted": 20, "over_quota": 10}))  # noqa: B023
    finally:
        os.killpg(app.pid, signal.SIGTERM)
        app.communicate(timeout=20)


def _fleet(files: Path) -> tuple[int, dict[str, int]]:
    fleet = status("shop_of_a_fleet", files)["fleet"]
    return fleet["hosts"], fleet["decisions"][0]["results"]
