"""Which requests the limits of an app count, for whom, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, request

from flask_concurrency import Concurrency, QuotaExceeded
from flask_concurrency.keys import header
from flask_requests import statuses

App = Callable[..., tuple[Flask, Concurrency]]


def test_app_limits_count_everything_once(make: App) -> None:
    """Scanners that only find 404 and 405 spend the app's limit like all other clients."""
    app, _ = make(app_limits="3/minute")
    app.get("/")(lambda: "")
    assert statuses(app, "/", 1) == [200]
    assert statuses(app, "/nowhere", 1) == [404]
    assert statuses(app, "/", 1, method="DELETE") == [405]
    assert statuses(app, "/elsewhere", 1) == [429]
    assert statuses(app, "/", 1, method="BREW") == [429]


def test_invented_methods_take_no_memory(make: App) -> None:
    """A client may name methods without end; nothing is kept for them."""
    app, _ = make(app_limits="1000/minute")
    for number in range(50):
        statuses(app, "/nowhere", 1, method=f"M{number}")
    assert len(app.extensions["concurrency"].routes) == 0


def test_static_files_do_not_spend_the_defaults(make: App, tmp_path: Any) -> None:
    """A page with ten pictures would be refused its eleventh."""
    (tmp_path / "a.txt").write_text("a")
    app = Flask(__name__, static_folder=str(tmp_path), static_url_path="/static")
    Concurrency(app, default_limits="1/day")
    assert statuses(app, "/static/a.txt", 3) == [200, 200, 200]


def test_exempt_views_and_blueprints_are_always_let_in(make: App) -> None:
    """A health check must not answer 429, whatever the app's limits are."""
    app, concurrency = make(app_limits="1/day", default_limits="1/day")
    health = Blueprint("health", __name__)
    concurrency.exempt(health)
    health.get("/ready")(lambda: "")
    app.get("/live")(concurrency.exempt(lambda: ""))
    app.register_blueprint(health)
    assert statuses(app, "/live", 3) == [200] * 3
    assert statuses(app, "/ready", 3) == [200] * 3


def test_replace_stands_instead_of_the_defaults(make: App) -> None:
    """The generous route is as generous as it says."""
    app, concurrency = make(default_limits="1/day")

    @app.get("/")
    @concurrency.limit("3/minute", replace=True)
    def index() -> str:
        return ""

    assert statuses(app, "/", 4) == [200, 200, 200, 429]


def test_methods_cost_and_exemption_are_heard(make: App) -> None:
    """Each option of ``limit`` changes what it says it does."""
    app, concurrency = make()

    @app.route("/", methods=["GET", "POST"])
    @concurrency.limit(
        "6/minute",
        methods=["POST"],
        cost=lambda: int(request.headers.get("Cost", "1")),
        exempt_when=lambda: "VIP" in request.headers,
    )
    def index() -> str:
        return ""

    assert statuses(app, "/", 9) == [200] * 9
    assert statuses(app, "/", 3, method="POST", headers={"Cost": "3"}) == [200, 200, 429]
    assert statuses(app, "/", 9, method="POST", headers={"VIP": "yes"}) == [200] * 9


def test_a_limit_for_get_counts_head(make: App) -> None:
    """The same work without its body is not a way around the limit."""
    app, concurrency = make()
    app.get("/")(concurrency.limit("1/minute", methods=["GET"])(lambda: ""))
    assert statuses(app, "/", 1) == [200]
    assert statuses(app, "/", 2, method="HEAD") == [429, 429]


def test_each_key_has_its_own_quota(make: App) -> None:
    """One API key's burst does not touch another's, and no key is a key, too."""
    app, concurrency = make()

    @app.get("/")
    @concurrency.limit("1/minute", key=header("X-API-Key"))
    def index() -> str:
        return ""

    for headers in ({"X-API-Key": "a"}, {"X-API-Key": "b"}, {"X-API-Key": "b" * 1_000_000}, {}):
        assert statuses(app, "/", 2, headers=headers) == [200, 429]


def test_named_limits_share_one_count(make: App) -> None:
    """Two ways to send a message spend the same quota."""
    app, concurrency = make()
    for path in ("/sms", "/call"):
        app.get(path, endpoint=path[1:])(concurrency.limit("1/day", name="messages")(lambda: ""))
    assert statuses(app, "/sms", 1) == [200]
    assert statuses(app, "/call", 1) == [429]


def test_options_that_flask_answers_are_free(make: App) -> None:
    """Asking what is allowed spends nothing; a view that answers itself is counted."""
    app, concurrency = make()
    app.get("/flask", endpoint="flask")(concurrency.limit("1/day")(lambda: ""))
    app.route("/own", endpoint="own", methods=["OPTIONS"])(concurrency.limit("1/day")(lambda: ""))
    assert statuses(app, "/flask", 3, method="OPTIONS") == [200] * 3
    assert statuses(app, "/flask", 1) == [200]
    assert statuses(app, "/own", 2, method="OPTIONS") == [200, 429]


def test_the_decision_is_there_to_read(make: App) -> None:
    """A view and an error handler see every policy's verdict."""
    app, concurrency = make()

    @app.get("/")
    @concurrency.limit("1/minute")
    def index() -> dict[str, int]:
        assert concurrency.current is not None
        return {"left": concurrency.current.verdicts[0].remaining}

    @app.get("/free")
    def free() -> str:
        return str(concurrency.current)

    @app.errorhandler(429)
    def too_many(error: QuotaExceeded) -> tuple[dict[str, Any], int]:
        return {"policies": [verdict.name for verdict in error.decision.refusing]}, 429

    client = app.test_client()
    assert client.get("/").json == {"left": 0}
    refused = client.get("/")
    assert refused.json == {"policies": ["route:1/minute"]}
    assert int(refused.headers["Retry-After"]) >= 1
    assert client.get("/free").text == "None"


def test_arrival_comes_before_every_other_hook(make: App) -> None:
    """A refused request costs no session, no login, no database."""
    app = Flask(__name__)
    seen: list[str] = []
    app.before_request(lambda: seen.append("hook"))
    Concurrency(app, app_limits="0/day")
    assert statuses(app, "/", 1) == [429]
    assert seen == []
