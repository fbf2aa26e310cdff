"""``app_limits="adaptive"``: what Flask sees of it, and what it does not."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Blueprint, Flask, Response

from flask_concurrency import Adaptive, Concurrency, ConfigurationError, Limits
from standing_queue import Overload


def make_app(**options: Any) -> tuple[Flask, Concurrency, list[str]]:
    """An app with an adaptive limit, and what its view was called for."""
    app = Flask(__name__)
    app.testing = True
    concurrency = Concurrency(app, **{"app_limits": "adaptive", **options})
    seen: list[str] = []

    @app.get("/")
    def index() -> str:
        seen.append("index")
        return "here"

    return app, concurrency, seen


def test_an_app_that_keeps_up_notices_nothing() -> None:
    """No field, no refusal; and nothing stays inside."""
    app, _, seen = make_app()
    told = Overload(app)
    for _ in range(50):
        response = app.test_client().get("/")
        assert response.status_code == 200
        assert "RateLimit" not in response.headers
    assert len(seen) == 50
    assert told.limit.inside == 0
    assert told.ages.ended_ones == 50


def test_what_is_too_old_is_refused_before_flask_sees_it() -> None:
    """503 in problem details, with a wait that is not the same for all, and no view is called."""
    app, _, seen = make_app()
    hooks: list[str] = []
    app.before_request(lambda: hooks.append("before"))
    Overload(app).stand()
    response = app.test_client().get("/")
    assert response.status_code == 503
    assert response.mimetype == "application/problem+json"
    problem = json.loads(response.data)
    assert problem["status"] == 503
    assert problem["violated-policies"] == ["app:adaptive"]
    assert response.headers["Retry-After"] in {"1", "2", "3"}
    assert response.headers["Cache-Control"] == "no-store"
    assert (seen, hooks) == ([], [])


def test_waits_are_not_the_same_for_all() -> None:
    """Otherwise all who are refused at once would come back at once."""
    app, _, _ = make_app()
    Overload(app).stand()
    waits = {app.test_client().get("/").headers["Retry-After"] for _ in range(60)}
    assert len(waits) > 1


def test_people_are_told_in_a_page() -> None:
    """A browser gets HTML; a HEAD request gets no body."""
    app, _, _ = make_app()
    Overload(app).stand()
    client = app.test_client()
    page = client.get("/", headers={"Accept": "text/html"})
    assert page.mimetype == "text/html"
    assert "Server busy" in page.text
    head = client.head("/")
    assert (head.status_code, head.data) == (503, b"")


def test_a_shadow_refuses_nothing_and_counts() -> None:
    """To see what the limit would do."""
    app, _, seen = make_app(app_limits=Limits("adaptive", shadow=True))
    told = Overload(app)
    told.stand()
    assert app.test_client().get("/").status_code == 200
    assert seen == ["index"]
    assert told.limit.refused == {"age": 1, "cap": 0}
    assert told.limit.inside == 0


def test_only_the_methods_it_is_declared_for() -> None:
    """A limit on POST lets GET in."""
    app, _, _ = make_app(app_limits=Limits("adaptive", methods=["POST"]))
    Overload(app).stand()
    client = app.test_client()
    assert client.get("/").status_code == 200
    assert client.post("/").status_code == 503


def test_a_switched_off_extension_refuses_nothing() -> None:
    """``CONCURRENCY_ENABLED = False`` goes for adaptive limits as well."""
    app = Flask(__name__)
    app.config["CONCURRENCY_ENABLED"] = False
    Concurrency(app, app_limits="adaptive")
    app.extensions["concurrency"].prepare_front()
    assert app.extensions["concurrency"].front.control is None


def test_a_stream_is_inside_until_its_last_byte() -> None:
    """In flight is what has not been sent yet."""
    app, _, _ = make_app()
    told = Overload(app)
    inside: list[int] = []

    @app.get("/stream")
    def stream() -> Response:
        def chunks() -> Iterator[str]:
            inside.append(told.limit.inside)
            yield "a"
            yield "b"

        return Response(chunks())

    assert app.test_client().get("/stream").data == b"ab"
    assert inside == [1]
    assert told.limit.inside == 0


def test_an_event_stream_is_answered_with_its_beginning() -> None:
    """How long a client listens says nothing of how busy the app is."""
    app, _, _ = make_app()
    told = Overload(app)
    inside: list[int] = []

    @app.get("/events")
    def events() -> Response:
        def chunks() -> Iterator[str]:
            yield "data: a\n\n"
            inside.append(told.limit.inside)

        return Response(chunks(), mimetype="text/event-stream")

    assert app.test_client().get("/events").data
    assert inside == [0]


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_an_error_gives_the_place_back(error: type[BaseException]) -> None:
    """Whatever a view raises."""
    app, _, _ = make_app()
    told = Overload(app)

    @app.get("/broken")
    def broken() -> str:
        raise error

    with pytest.raises(error):
        app.test_client().get("/broken")
    assert told.limit.inside == 0


def test_a_client_that_has_gone_is_not_served() -> None:
    """The request ends before the app sees it, and is counted apart."""
    app, _, seen = make_app()
    told = Overload(app)
    told.ages.gone = True
    app.test_client().get("/")
    assert seen == []
    assert told.limit.gone == 1
    assert sum(told.limit.refused.values()) == 0


def test_half_closing_clients_can_be_served() -> None:
    """Where clients close their side and still read, the app says so."""
    app = Flask(__name__)
    app.testing = True
    app.config["CONCURRENCY_SKIP_GONE_CLIENTS"] = False
    Concurrency(app, app_limits="adaptive")
    app.get("/")(lambda: "here")
    told = Overload(app)
    told.ages.gone = True
    assert app.test_client().get("/").data == b"here"


def test_refusals_are_logged_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    """One line for many refusals, and not one for each."""
    app, _, _ = make_app()
    Overload(app).stand()
    with caplog.at_level(logging.WARNING, logger="flask_concurrency.overload"):
        for _ in range(100):
            app.test_client().get("/")
    assert 1 <= len(caplog.records) <= 3
    assert "app:adaptive" in caplog.records[0].getMessage()


def test_pages_of_other_origins_can_read_a_refusal() -> None:
    """A refusal carries the CORS fields of its route; its preflight is answered all the same."""
    app, concurrency, seen = make_app()
    concurrency.cors(app, origins="https://shop.example")
    Overload(app).stand()
    client = app.test_client()
    origin = {"Origin": "https://shop.example"}
    response = client.get("/", headers=origin)
    assert response.status_code == 503
    assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert seen == []
    preflight = client.options("/", headers={**origin, "Access-Control-Request-Method": "GET"})
    assert preflight.status_code == 200


def test_a_request_with_an_origin_is_refused_where_there_is_no_cors() -> None:
    """A form of the app's own pages sends an Origin, too."""
    app, _, seen = make_app()
    Overload(app).stand()
    response = app.test_client().get("/", headers={"Origin": "http://localhost"})
    assert response.status_code == 503
    assert seen == []


def test_a_websocket_is_not_counted() -> None:
    """It lives for as long as it likes."""
    app, _, _ = make_app()
    told = Overload(app)
    told.stand()
    response = app.test_client().get("/", headers={"Upgrade": "websocket"})
    assert response.status_code == 200
    assert told.limit.admitted == 0


def test_a_route_has_a_cap_of_its_own() -> None:
    """One slow dependency does not close the rest of the app, and its refusal is Flask's."""
    app = Flask(__name__)
    app.testing = True
    concurrency = Concurrency(app)
    told: list[object] = []

    @app.get("/slow")
    @concurrency.limit(Adaptive(deadline=0.5, max=1))
    def slow() -> str:
        response = app.test_client().get("/slow")
        return f"{response.status_code}"

    @app.get("/other")
    def other() -> str:
        return "here"

    @app.errorhandler(503)
    def busy(error: Any) -> tuple[str, int]:
        told.append(error.decision)
        return "busy", 503

    assert app.test_client().get("/slow").data == b"503"
    assert app.test_client().get("/other").data == b"here"
    assert len(told) == 1
    (limit,) = app.extensions["concurrency"].adaptive.all()
    assert limit.inside == 0
    assert set(limit._guards.late.bases) <= {"slow"}


def test_two_routes_learn_apart_and_are_seen_apart() -> None:
    """The same words on two routes are two limits, which status names by their routes."""
    app = Flask(__name__)
    app.testing = True
    concurrency = Concurrency(app, default_limits="adaptive")
    app.get("/one")(concurrency.limit("adaptive 300ms")(lambda: "1"))
    app.add_url_rule("/two", "two", concurrency.limit("adaptive 300ms")(lambda: "2"))
    app.test_client().get("/one")
    app.test_client().get("/two")
    seen = app.extensions["concurrency"].adaptive_snapshots()
    names = {"default:adaptive", "route:adaptive 300ms"}
    assert {name.rpartition(": ")[2] for name in seen} == names
    assert len(seen) == 4
    assert {found.admitted for found in seen.values()} == {1}


def test_a_block_and_a_name_share_one_cap() -> None:
    """A dependency that several routes use is counted by its name."""
    app = Flask(__name__)
    app.testing = True
    concurrency = Concurrency(app)
    full = Adaptive(max=1)

    @app.get("/")
    def index() -> str:
        with concurrency.limit(full, name="search"):
            try:
                with concurrency.limit(full, name="search"):
                    return "both"
            except Exception as error:
                return type(error).__name__

    assert app.test_client().get("/").text == "ServerBusy"
    assert app.test_client().get("/").text == "ServerBusy"  # nothing stayed inside


def test_a_rate_beside_it_is_asked_as_ever() -> None:
    """Limits are combined; what the rate refuses holds no permit."""
    app, _, _ = make_app(app_limits="adaptive; 1/minute")
    told = Overload(app)
    client = app.test_client()
    assert client.get("/").status_code == 200
    assert client.get("/").status_code == 429
    assert told.limit.inside == 0


def test_a_routes_deadline_wins() -> None:
    """What an answer of that route is worth is known there."""
    app, concurrency, _ = make_app()
    told = Overload(app)
    deadlines: list[float] = []

    @app.get("/report")
    @concurrency.deadline(30.0)
    def report() -> str:
        (entry,) = told.limit._guards.late._inside
        deadlines.append(entry.deadline)
        route: str = entry.route
        return route

    assert app.test_client().get("/report").text == "report"
    assert deadlines == [30.0]


@pytest.mark.parametrize(
    "option",
    [{"cost": 2}, {"at": "view"}, {"charge_when": lambda response: True}, {"exempt_when": bool}],
)
def test_an_option_that_means_nothing_is_refused(option: dict[str, Any]) -> None:
    """Where it is written, naming the option."""
    (name,) = option
    with pytest.raises(ConfigurationError, match=f"^{name}= means nothing"):
        Limits("adaptive", **option)


def test_an_adaptive_limit_cannot_be_chosen_in_a_request() -> None:
    """It learns from one request for the next."""
    app = Flask(__name__)
    app.testing = True
    concurrency = Concurrency(app)

    @app.get("/")
    @concurrency.limit(lambda: "adaptive")
    def index() -> str:
        return "here"

    with pytest.raises(ConfigurationError, match="learns from one request"):
        app.test_client().get("/")


def test_configuration_may_say_it() -> None:
    """``CONCURRENCY_APP_LIMITS`` reads the same grammar; nonsense names the key."""
    app = Flask(__name__)
    app.config["CONCURRENCY_APP_LIMITS"] = "adaptive 250ms"
    Concurrency(app)
    app.extensions["concurrency"].prepare_front()
    assert app.extensions["concurrency"].front.control.rules[0].limit.limit.deadline == 0.25
    wrong = Flask(__name__)
    wrong.config["CONCURRENCY_APP_LIMITS"] = "adaptive 250"
    with pytest.raises(ConfigurationError, match=r"CONCURRENCY_APP_LIMITS[\s\S]*deadline"):
        Concurrency(wrong)


def test_exempt_routes_and_blueprints_are_let_in() -> None:
    """``exempt`` means all limits, also those that are asked before Flask knows the route."""
    app, concurrency, _ = make_app()
    blueprint = Blueprint("admin", __name__, url_prefix="/admin")
    concurrency.exempt(blueprint)

    @blueprint.get("/<name>")
    def admin(name: str) -> str:
        return name

    @app.get("/free")
    @concurrency.exempt
    def free() -> str:
        return "here"

    app.register_blueprint(blueprint)
    Overload(app).stand()
    client = app.test_client()
    assert client.get("/free").status_code == 200
    assert client.get("/admin/x").status_code == 200
    assert client.get("/").status_code == 503
    assert client.get("/nowhere").status_code == 503
