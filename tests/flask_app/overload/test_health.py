"""Health checks: answered before Flask, whatever the app is busy with."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency, ConfigurationError
from flask_concurrency.admission.adaptive_limit import STUCK
from standing_queue import Overload


def make_app(**paths: Any) -> tuple[Flask, Concurrency]:
    """An app with health checks."""
    app = Flask(__name__)
    app.testing = True
    concurrency = Concurrency(app, app_limits="adaptive")
    concurrency.health(app, **paths)
    app.get("/")(lambda: "here")
    return app, concurrency


def test_both_say_ok() -> None:
    """Without Flask: no hook of the app sees them, and no limit counts them."""
    app, _ = make_app()

    @app.before_request
    def forbid() -> str:
        return "no"

    client = app.test_client()
    for path in ("/livez", "/readyz"):
        response = client.get(path)
        assert (response.status_code, response.json) == (200, {"status": "ok"})
        assert response.headers["Cache-Control"] == "no-store"
        assert client.head(path).data == b""
        assert client.post(path).data == b"no"


def test_they_are_answered_while_all_else_is_refused() -> None:
    """Ready says so, and live does not: a busy process is not to be killed."""
    app, _ = make_app()
    told = Overload(app)
    told.stand()
    client = app.test_client()
    for _ in range(20):
        assert client.get("/").status_code == 503
    now = told.limit._clock()
    told.limit._clock = lambda: now + 1.0
    assert client.get("/").status_code == 503
    assert client.get("/readyz").json == {"status": "saturated"}
    assert client.get("/readyz").status_code == 503
    assert client.get("/livez").status_code == 200
    told.limit._clock = lambda: now + 5.0
    assert client.get("/readyz").status_code == 200


def test_ready_says_no_while_draining() -> None:
    """From the signal on, so that no new request is sent."""
    app, _ = make_app()
    app.extensions["concurrency"].drain.begin()
    client = app.test_client()
    assert (client.get("/readyz").status_code, client.get("/readyz").json) == (
        503,
        {"status": "draining"},
    )
    assert client.get("/livez").status_code == 200
    assert client.get("/").status_code == 200


def test_live_says_no_only_where_requests_hang() -> None:
    """Some hang, and none has ended for half a minute."""
    app, _ = make_app()
    limit = Overload(app).limit
    now = limit._clock()
    limit._clock = lambda: now
    entry = limit.try_acquire()
    limit._guards.late.cap = 1.0
    limit._clock = lambda: now + STUCK + 1.0
    client = app.test_client()
    assert client.get("/livez").status_code == 200  # it may be a long request
    assert not isinstance(limit.try_acquire(), str)  # now it has been counted out
    assert client.get("/livez").json == {"status": "stuck"}
    assert not isinstance(entry, str)
    limit.release(entry)
    assert client.get("/livez").status_code == 200


def test_paths_may_be_chosen_or_left_out() -> None:
    """What is not declared is the app's own."""
    app, _ = make_app(live="/alive", ready=None)
    client = app.test_client()
    assert client.get("/alive").status_code == 200
    assert client.get("/livez").status_code == 404
    assert client.get("/readyz").status_code == 404


@pytest.mark.parametrize(
    "paths", [{"live": "livez"}, {"ready": 7}, {"live": "/z", "ready": "/z"}, {"live": ""}]
)
def test_a_path_that_is_none_is_refused(paths: dict[str, Any]) -> None:
    """Where it is written."""
    with pytest.raises(ConfigurationError, match="health\\("):
        make_app(**paths)


def test_an_app_that_is_not_served_is_refused() -> None:
    """``init_app`` comes first."""
    with pytest.raises(ConfigurationError, match="init_app"):
        Concurrency().health(Flask(__name__))


def test_an_app_without_adaptive_limits_has_them_too() -> None:
    """They need no limit."""
    app = Flask(__name__)
    app.testing = True
    Concurrency(app).health(app)
    client = app.test_client()
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_the_signal_to_end_is_watched() -> None:
    """A worker that imports the app on its main thread knows of it from then on."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        app, _ = make_app()
        signal.raise_signal(signal.SIGTERM)
        assert app.test_client().get("/readyz").json == {"status": "draining"}
    finally:
        signal.signal(signal.SIGTERM, before)
