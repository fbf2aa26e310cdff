"""``flask concurrency status`` and ``reset``: see what an app counts, and start a key anew."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from flask.cli import ScriptInfo
from flask.views import MethodView

from flask_concurrency import Adaptive, Concurrency, InFlight, Rate
from flask_concurrency.admission.adaptive_limit import AdaptiveSnapshot
from flask_concurrency.cli.executor_lines import in_words
from flask_concurrency.cli.overload_lines import guards_in_words
from flask_concurrency.cli.overload_lines import in_words as limit_in_words
from flask_concurrency.cli.status import EVERY
from flask_concurrency.flask_app.app_store import deployment
from flask_concurrency.flask_app.work.status_file import Publisher
from flask_concurrency.flask_app.work.status_publishing import snapshots

Run = Callable[..., Result]


def make_app(store: str | None = "host://") -> Flask:
    """An app as a worker or a command makes it: each call is another process's view of it."""
    app = Flask("shop")
    concurrency = Concurrency(app, store=store, default_limits="100/day")
    busy = concurrency.limit(InFlight(4, max_queue=8, max_wait=1.0))
    app.get("/")(busy(concurrency.limit("5/minute")(lambda: iter(["hello"]))))
    return app


def script(app: Flask) -> ScriptInfo:
    return ScriptInfo(create_app=lambda: app)


@pytest.fixture
def worker() -> Flask:
    app = make_app()
    for _ in range(2):
        with app.test_client().get("/") as response:
            assert response.status_code == 200
    return app


def test_what_is_inside_is_seen_from_outside(worker: Flask, run: Run) -> None:
    """The command reads what the worker counts, and changes nothing by looking."""
    held = worker.test_client().get("/", buffered=False)
    for _ in range(2):
        told = run("status", app=script(make_app()))
        assert told.exit_code == 0, told.output
        assert "1 of 4 inside, 0 of 8 waiting" in told.output
    held.close()
    assert "0 of 4 inside" in run("status", app=script(make_app())).output


def test_watching_ends_with_ctrl_c(
    worker: Flask, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is how it ends, so it is no failure."""
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("flask_concurrency.cli.status.time.sleep", wait)
    told = run("status", "--watch", "--json", app=script(make_app()))
    assert told.exit_code == 0, told.output
    assert len([json.loads(line) for line in told.stdout.splitlines()]) == 3
    assert waits == [EVERY] * 3


def test_a_client_is_found_by_its_key(worker: Flask, run: Run) -> None:
    """In words for people, in JSON for scripts."""
    told = run("status", "--key", "127.0.0.1", app=script(make_app()))
    assert "2 of 5, more in" in told.output
    assert "2 of 100, more in" in told.output
    told = run("status", "--key", "127.0.0.1", "--json", app=script(make_app()))
    found = json.loads(told.output)
    assert [(each["name"], each["used"]) for each in found["limits"]] == [
        ("default:100/day", 2),
        ("route:4 in flight", 0),
        ("route:5/minute", 2),
    ]


def test_counts_of_routes_are_told_apart(run: Run) -> None:
    """Each says whose it is; what routes share is there once."""
    app = Flask("shop")
    concurrency = Concurrency(app, store="host://", default_limits="9/day", app_limits="99/day")

    class Items(MethodView):
        get = concurrency.limit("1 in flight")(lambda self: "")
        post = concurrency.limit("1 in flight")(lambda self: "")

    app.add_url_rule("/items", view_func=Items.as_view("items"))
    app.get("/", endpoint="index")(concurrency.limit("3/day", name="three")(lambda: ""))
    told = run("status", "--key", "127.0.0.1", app=script(app)).output
    assert [line.split("  ")[1] for line in told.splitlines() if " of " in line] == [
        "items get: route:1 in flight",
        "items post: route:1 in flight",
        "app:99/day",
        "items: default:9/day",
        "index: default:9/day",
        "three:3/day",
    ]


def test_a_reset_key_starts_anew(worker: Flask, run: Run) -> None:
    """In every limit of the app; of a key without counts it says so."""
    told = run("reset", "127.0.0.1", app=script(make_app()))
    assert (told.exit_code, told.output) == (0, "2 limits of '127.0.0.1' start anew.\n")
    assert "0 of 5\n" in run("status", "--key", "127.0.0.1", app=script(make_app())).output
    nobody = run("reset", "192.0.2.99", app=script(make_app()))
    assert nobody.exit_code == 1
    assert "has counted the key '192.0.2.99'" in nobody.output


def test_everybody_starts_anew_after_a_question(worker: Flask, run: Run) -> None:
    """An answer other than yes changes nothing."""
    held = worker.test_client().get("/", buffered=False)
    asked = run("reset", "--all", app=script(make_app()), answer="n\n")
    assert asked.exit_code == 1
    assert "Start the rates of all keys anew, in all limits of 'shop'?" in asked.stderr
    assert "3 of 5" in run("status", "--key", "127.0.0.1", app=script(make_app())).output
    told = run("reset", "--all", app=script(make_app()), answer="y\n")
    assert (told.exit_code, told.stdout) == (0, "2 counts of all keys start anew.\n")
    seen = run("status", "--key", "127.0.0.1", app=script(make_app())).output
    assert "0 of 5\n" in seen
    assert "1 of 4 inside" in seen
    held.close()


def test_scripts_reset_without_a_question(worker: Flask, run: Run) -> None:
    """And read what became of it as JSON."""
    one = run("reset", "127.0.0.1", "--json", app=script(make_app()))
    assert json.loads(one.stdout) == {"app": "shop", "key": "127.0.0.1", "reset": 2}
    everybody = run("reset", "--all", "--yes", "--json", app=script(make_app()))
    assert json.loads(everybody.stdout) == {"app": "shop", "key": None, "reset": 0}


@pytest.mark.parametrize("arguments", [[], ["192.0.2.7", "--all"]])
def test_a_reset_says_of_whom(arguments: list[str], run: Run) -> None:
    """Neither all by mistake, nor two things at once."""
    told = run("reset", *arguments, app=script(make_app()))
    assert told.exit_code == 2
    assert "Name a KEY, or say --all" in told.output


def test_a_bucket_is_as_large_as_its_burst(run: Run) -> None:
    """What is used and left of it adds up to that, not to the rate."""
    app = Flask("shop")
    bucket = Rate("3/hour", algorithm="token-bucket", burst=9)
    app.get("/")(Concurrency(app, store="host://").limit(bucket)(lambda: ""))
    app.test_client().get("/")
    assert "1 of 9, more in" in run("status", "--key", "127.0.0.1", app=script(app)).output


@pytest.mark.parametrize(
    "command", [["status"], ["reset", "k"], ["reset", "--all"], ["explain", "--key", "k"]]
)
def test_counts_of_one_process_cannot_be_seen(run: Run, command: list[str]) -> None:
    """Rather than show an empty store of the command's own."""
    told = run(*command, app=script(make_app("memory://")))
    assert told.exit_code == 1
    assert "memory://" in told.output
    assert "host://" in told.output


@pytest.mark.parametrize(
    "command", [["status"], ["reset", "k"], ["reset", "--all", "-y"], ["explain", "--key", "k"]]
)
def test_a_store_that_is_out_is_said_to_be_so(run: Run, command: list[str]) -> None:
    """Rather than show the stand-in, in which no client was ever counted."""
    told = run(*command, app=script(make_app("redis://127.0.0.1:1/0")))
    assert told.exit_code == 1
    assert "'redis://127.0.0.1:1/0' is of no use: " in told.stderr
    assert "0 of" not in told.stdout


def test_an_app_without_limits_is_told_politely(run: Run) -> None:
    """With what to add."""
    told = run("status", app=script(Flask("plain")))
    assert told.exit_code == 1
    assert "concurrency = Concurrency(app)" in told.output


def test_what_executors_do_is_seen_from_outside(worker: Flask, run: Run) -> None:
    """Each process publishes it; the command starts no executor of its own."""
    state = worker.extensions["concurrency"]
    publisher = Publisher(deployment(worker, state.settings), lambda: snapshots(state.executors))
    with worker.app_context():
        threads = state.executors.threads
        assert threads.submit(int).result(30) == 0
        assert threads.submit(int, "x").exception(30) is not None
    while threads.snapshot().failed < 1:  # it is counted after its future is done
        time.sleep(0.001)
    publisher.publish()
    told = run("status", app=script(make_app()))
    assert f"threads of process {os.getpid()}" in told.output
    assert "0 of " in told.output
    assert "1 done, 1 failed; run " in told.output
    (process,) = json.loads(run("status", "--json", app=script(make_app())).output)["processes"]
    assert process["process"] == os.getpid()
    assert list(process["executors"]) == ["threads"]


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        ({"busy": 2, "max_workers": 4, "queued": 7, "done": 3}, "2 of 4 busy, 7 queued; 3 done"),
        (
            {"busy": 0, "max_workers": 1, "done": 0, "failed": 1, "killed": 2},
            "0 of 1 busy; 0 done, 1 failed, 2 killed",
        ),
        ({"kind": "Pool", "pending": 5, "done": 6}, "5 pending; 6 done"),
        ({"tasks": 9, "spawned": 1, "done": 6}, "9 tasks; 6 done"),
        (
            {
                "busy": 0,
                "max_workers": 1,
                "done": 1,
                "durations": {"run_p50": 0.0123, "run_p99": 1.5, "wait_p99": 0.00002},
            },
            "0 of 1 busy; 1 done; run 12.3 ms (p50), 1.5 s (p99), wait 20 µs (p99)",
        ),
    ],
)
def test_an_executor_is_one_line(snapshot: dict[str, Any], words: str) -> None:
    """What is nought and needs no attention is left out."""
    assert in_words(snapshot) == words


def test_adaptive_limits_are_seen_from_outside(worker: Flask, run: Run) -> None:
    """The cap, the age and the reasons, beside the executors and not among them."""
    state = worker.extensions["concurrency"]
    limit = state.adaptive.get("id", Adaptive(max=1), name="app:adaptive", shadow=False)
    entry = limit.try_acquire(age=0.25)
    assert limit.try_acquire(age=0.25) == "cap"
    publisher = Publisher(deployment(worker, state.settings), state.adaptive_snapshots)
    publisher.publish()
    told = " ".join(run("status", app=script(make_app())).output.split())
    assert f"app:adaptive of process {os.getpid()}" in told
    assert "1 in flight, at most 1; age 250 ms; 1 admitted, 1 too many" in told
    assert "Executors" not in told
    limit.release(entry)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "0 in flight, no cap; age 0 ms; 9 admitted"),
        (
            {"cap": 7, "in_flight": 7, "judging": True, "hung": 2, "standing": True, "age": 0.0621},
            "7 in flight, at most 7 (being judged), 2 hung; age 62 ms, a queue stands; 9 admitted",
        ),
        (
            {"too_old": 3, "too_many": 2, "gone": 1},
            "0 in flight, no cap; age 0 ms; 9 admitted, 3 too old, 2 too many, 1 gone",
        ),
    ],
)
def test_an_adaptive_limit_is_one_line(changes: dict[str, Any], words: str) -> None:
    """What is nought and needs no attention is left out."""
    calm = AdaptiveSnapshot(
        *("app:adaptive", 1.0, 0, 0, None, 0.0, False, False, 9, 0, 0, 0, "the proxy")
    )
    snapshot = asdict(replace(calm, **changes))
    assert limit_in_words(snapshot) == words
    assert guards_in_words(snapshot) == "the age, from the proxy; the cap by Little's law"
    assert guards_in_words({**snapshot, "source": ""}).endswith("no age is known")
