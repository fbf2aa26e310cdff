"""Apps that count on Redis: what a request costs, and what an outage does to it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency

PATIENT = 30.0
TIMEOUT = 0.25
SLACK = 2.0


def make_app(url: str, name: str, **config: Any) -> Flask:
    """Four limits on one route: of the app, of every route, and two of its own."""
    app = Flask(name)
    app.config.from_mapping(
        CONCURRENCY_STORE=url, **{"CONCURRENCY_STORE_TIMEOUT": PATIENT, **config}
    )
    concurrency = Concurrency(app, app_limits="1000/day", default_limits="100/hour")

    @app.get("/")
    @concurrency.limit("50/minute; 5/minute")
    def index() -> str:
        return "Hello"

    @app.get("/report")
    @concurrency.limit("2 in flight", replace=True)
    def report() -> str:
        return "Done"

    return app


def commands(client: Any) -> int:
    """Commands that clients sent since the statistics were reset."""
    found: dict[str, dict[str, int]] = client.info("commandstats")
    return sum(row["calls"] for name, row in found.items() if "eval" in name)


def test_four_limits_with_headers_are_one_command(redis_server: Any, namespace: str) -> None:
    """Admitted or refused; a client whose refusal is known to last needs none at all."""
    client = make_app(redis_server.url, namespace).test_client()
    client.get("/")  # the script is sent once
    server = redis_server.client()
    server.config_resetstat()
    answers = [client.get("/") for _ in range(9)]
    assert commands(server) == 5
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 5
    assert all(answer.headers["RateLimit"].count(";r=") == 4 for answer in answers)
    assert "Retry-After" in answers[-1].headers


def test_a_refused_request_spent_nothing_of_any_limit(redis_server: Any, namespace: str) -> None:
    """The app's day still has what nine requests, five of them admitted, left of it."""
    client = make_app(redis_server.url, namespace).test_client()
    for _ in range(9):
        answer = client.get("/")
    assert ";r=995" in answer.headers["RateLimit"]


def test_two_apps_on_one_server_count_apart(redis_server: Any, namespace: str) -> None:
    """By their names, unless they are given the same namespace."""
    one, two = (make_app(redis_server.url, f"{namespace}-{n}").test_client() for n in (1, 2))
    for _ in range(5):
        assert one.get("/").status_code == 200
    assert one.get("/").status_code == 429
    assert two.get("/").status_code == 200


def test_processes_of_one_app_count_together(redis_server: Any, namespace: str) -> None:
    """Two apps of one name stand for two workers."""
    workers = [make_app(redis_server.url, namespace).test_client() for _ in range(2)]
    answers = [workers[n % 2].get("/").status_code for n in range(7)]
    assert answers == [200] * 5 + [429] * 2


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("local", [200] * 5 + [429]), ("admit", [200] * 6), ("refuse", [503] * 6)],
)
def test_no_outage_is_an_error(policy: str, expected: list[int], namespace: str) -> None:
    """No server listens there: every policy answers, and none with a 500."""
    app = make_app("redis://127.0.0.1:1", namespace, CONCURRENCY_ON_STORE_FAILURE=policy)
    client = app.test_client()
    assert [client.get("/").status_code for _ in range(6)] == expected
    assert client.get("/report").status_code == (503 if policy == "refuse" else 200)
    app.extensions["concurrency"].store.close()


def test_a_refusal_for_an_outage_says_when_to_come_back(namespace: str) -> None:
    """After a moment: when the store is back is unknown, but a thread probes it all the time."""
    app = make_app("redis://127.0.0.1:1", namespace, CONCURRENCY_ON_STORE_FAILURE="refuse")
    assert int(app.test_client().get("/").headers["Retry-After"]) in range(1, 4)
    app.extensions["concurrency"].store.close()


def test_something_foreign_under_a_key_of_ours_is_no_error(
    redis_server: Any, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The request is decided here, which is logged once and counted."""
    app = make_app(redis_server.url, namespace)
    client = app.test_client()
    assert client.get("/").status_code == 200
    server = redis_server.client()
    keys = list(server.scan_iter(f"*{namespace}*"))
    assert len(keys) == 4
    for key in keys:
        server.delete(key)
        server.rpush(key, "a queue of somebody else")
    with caplog.at_level("WARNING", "flask_concurrency.store"):
        assert [client.get("/").status_code for _ in range(3)] == [200] * 3
    store = app.extensions["concurrency"].store
    health = store.snapshot()
    assert (health.out_for, health.outages, health.errors, health.stood_in) == (None, 0, 3, 3)
    (said,) = caplog.messages
    assert "holds something under a key of ours" in said
    server.delete(*keys)
    assert ";r=4;" in client.get("/").headers["RateLimit"]
    store.close()


@pytest.mark.slow
def test_under_load_a_server_may_hang_die_and_come_back(start_redis: Any, namespace: str) -> None:
    """Eight threads ask all the time; none gets an error, and few wait for the server in vain.

    Requests that are waiting for it when it goes out wait once; all others are decided without it.
    """
    server = start_redis()
    app = make_app(server.url, namespace, CONCURRENCY_STORE_TIMEOUT=TIMEOUT)
    done = threading.Event()
    answers: list[tuple[int, float]] = []

    def visit(number: int) -> None:
        client = app.test_client()
        while not done.is_set():
            started_at = time.monotonic()
            address = {"REMOTE_ADDR": f"198.51.100.{number}"}
            status = client.get("/report", environ_base=address).status_code
            answers.append((status, time.monotonic() - started_at))
            done.wait(0.002)

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for act in (server.freeze, server.resume, server.kill, server.start):
        done.wait(0.5)
        act()
    done.wait(1.0)
    done.set()
    for thread in threads:
        thread.join()
    assert len(answers) > 100
    assert {status for status, _ in answers} <= {200, 503}
    assert max(seconds for _, seconds in answers) < TIMEOUT + SLACK
    health = app.extensions["concurrency"].store.snapshot()
    assert health.outages >= 2
    assert health.errors <= len(threads) * health.outages < health.stood_in
