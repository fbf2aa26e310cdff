"""Whatever a client sends, and whatever is found on disk, is never a 500 and never a free pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import http_sf
import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_concurrency import Concurrency, InFlight, Limits
from flask_concurrency.keys import header
from flask_concurrency.stores.circuit_breaker import Health

ODD = ["", " ", "\0", "\x7f", "a/b", "{tag}", "a\x1fb", "\xff\xfe", "'; DROP", "🗝", "\ud800"]
each_store = pytest.mark.parametrize("store", ["memory://", "host://"])


@each_store
@pytest.mark.parametrize("key", [*ODD, "k" * 1_000_000], ids=lambda key: ascii(key[:9]))
def test_a_key_of_any_text_is_counted(store: str, key: str) -> None:
    """It is admitted once and refused after that; every other key has a count of its own."""
    app = Flask(__name__)
    concurrency = Concurrency(app, store=store)
    who = [key]
    app.get("/")(concurrency.limit("1/hour; 9 in flight", key=lambda: who[0])(lambda: ""))
    assert [app.test_client().get("/").status_code for _ in range(2)] == [200, 429]
    who[0] = "somebody else"
    assert app.test_client().get("/").status_code == 200


@pytest.mark.parametrize("key", [None, b"", b"\xff", 0, False, 1.5, (), object])
def test_a_key_that_is_no_text_is_counted(key: object) -> None:
    """As its text, and None as the anonymous key: in no case is there no limit."""
    app = Flask(__name__)
    app.get("/")(Concurrency(app).limit("1/hour", key=lambda: key)(lambda: ""))
    assert [app.test_client().get("/").status_code for _ in range(2)] == [200, 429]


def test_who_sends_no_key_shares_one_count() -> None:
    """To leave a header out, or to send it empty, is not a way past the limit."""
    app = Flask(__name__)
    app.get("/")(Concurrency(app).limit("2/hour", key=header("X-API-Key"))(lambda: ""))
    client = app.test_client()
    asked: list[dict[str, str]] = [{}, {"X-API-Key": ""}, {}, {"X-API-Key": "mine"}]
    assert [client.get("/", headers=each).status_code for each in asked] == [200, 200, 429, 200]


HEADERS = (
    "Accept",
    "Access-Control-Request-Headers",
    "Access-Control-Request-Method",
    "Host",
    "Origin",
    "RateLimit",
    "Retry-After",
    "X-API-Key",
    "X-Forwarded-For",
    "X-Request-Start",
)


@pytest.fixture(scope="module")
def limited() -> Flask:
    """An app that reads every header that we ever read, and refuses nearly all."""
    app = Flask(__name__)
    app.config.update(CONCURRENCY_MAX_REQUEST_AGE=30, CONCURRENCY_HEADERS="legacy")
    concurrency = Concurrency(
        app, store="memory://", app_limits=Limits("1/hour", name='a "name" \\ of mine')
    )
    concurrency.cors(app, origins="https://shop.example")
    app.route("/", methods=["GET", "POST"])(
        concurrency.limit("1/hour", InFlight(9), key=header("X-API-Key"))(lambda: "")
    )
    return app


@given(
    st.dictionaries(
        st.sampled_from(HEADERS), st.text(st.characters(max_codepoint=255), max_size=40), max_size=5
    ),
    st.sampled_from(["GET", "POST", "OPTIONS", "BREW"]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_header_of_a_client_breaks_an_answer(
    limited: Flask, headers: dict[str, str], method: str
) -> None:
    """Any bytes in any header we read: an answer that is no 500, with fields that can be read."""
    builder = EnvironBuilder(method=method)
    environ = builder.get_environ()
    builder.close()
    for name, value in headers.items():
        environ["HTTP_" + name.upper().replace("-", "_")] = value  # as a server hands bytes on
    for _ in range(2):  # the second is refused, if not the first
        body, status, answered = run_wsgi_app(limited, dict(environ), buffered=True)
        assert int(status[:3]) in (200, 400, 404, 405, 429, 503), (status, b"".join(body))
        for name, value in answered:
            assert not set(value) & {"\r", "\n", "\0"}, (name, value)
        if "RateLimit" in answered:
            items: Any = http_sf.parse(answered["RateLimit"].encode(), tltype="list")
            assert items[0][0] == 'a "name" \\ of mine:1/hour'


@pytest.fixture
def counts(runtime_directory: Path) -> Iterator[Path]:
    """The file that the app's first request made; it is closed again."""
    app = shop()
    assert app.test_client().get("/").headers["RateLimit"].startswith('"route:5/minute";r=4')
    app.extensions["concurrency"].store.close()
    (path,) = (path for path in runtime_directory.rglob("*") if path.is_file())
    yield path
    path.parent.chmod(0o700)


def shop() -> Flask:
    """An app of two routes, as one worker of it sees it."""
    app = Flask("shop")
    concurrency = Concurrency(app, store="host://")
    app.get("/")(concurrency.limit("5/minute")(lambda: ""))
    return app


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5_000])


def of_another_version(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(8)
        file.write(b"\xff" * 4)


@pytest.mark.parametrize("damage", [cut_off, of_another_version])
def test_a_damaged_file_costs_the_counts_and_nothing_else(
    damage: Callable[[Path], None], counts: Path
) -> None:
    """It is built anew, and all workers count together again."""
    damage(counts)
    left = [shop().test_client().get("/").headers["RateLimit"].split(";")[1] for _ in range(2)]
    assert left == ["r=4", "r=3"]


def foreign(path: Path) -> None:
    path.write_bytes(b"my thesis")


def open_to_others(path: Path) -> None:
    path.parent.chmod(0o777)


@pytest.mark.parametrize("trouble", [foreign, open_to_others])
@pytest.mark.parametrize(("policy", "expected"), [("local", 200), ("admit", 200), ("refuse", 503)])
def test_a_file_that_is_not_ours_is_an_outage(
    trouble: Callable[[Path], None],
    policy: str,
    expected: int,
    counts: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The policy answers, one line says why, and it is over when the file is gone."""
    trouble(counts)
    app = Flask("shop")
    app.config["CONCURRENCY_ON_STORE_FAILURE"] = policy
    app.get("/")(Concurrency(app, store="host://").limit("5/minute")(lambda: ""))
    with caplog.at_level(logging.WARNING, "flask_concurrency.store"):
        assert [app.test_client().get("/").status_code for _ in range(3)] == [expected] * 3
    store: Any = app.extensions["concurrency"].store
    health: Health = store.snapshot()
    assert (health.outages, health.errors, health.stood_in) == (1, 1, 3)
    assert len(caplog.messages) == 1, caplog.messages
    counts.parent.chmod(0o700)
    counts.unlink()
    store.store.probe()  # what ends the outage finds nothing in the way any more
    store.close()
