"""``flask concurrency explain`` says what applies, from where, in which order, and why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from flask import Blueprint, Flask
from flask.cli import ScriptInfo
from flask.views import MethodView

from flask_concurrency import Concurrency, InFlight, Rate
from flask_concurrency.keys import header

Run = Callable[..., Result]


def is_admin() -> bool:
    return False


def weight() -> int:
    return 2


@pytest.fixture
def shop() -> Flask:
    """An app that declares limits at every level."""
    app = Flask("shop")
    concurrency = Concurrency(app, default_limits="100/day", app_limits="1000/hour")
    api = concurrency.limit("50/day")(Blueprint("api", __name__, url_prefix="/api"))

    @app.get("/")
    @concurrency.limit("5/minute")
    def index() -> str:
        return ""

    @app.get("/health")
    @concurrency.exempt
    def health() -> str:
        return ""

    @api.route("/users/<int:number>", methods=["GET", "POST"])
    @concurrency.limit("9/hour", methods=["POST"], key=header("X-API-Key"), cost=weight)
    @concurrency.limit(Rate("3/second", algorithm="fixed-window"), name="burst", replace=True)
    def user(number: int) -> str:
        return ""

    class Report(MethodView):
        def get(self) -> str:
            return ""

        @concurrency.limit("2 in flight", exempt_when=is_admin)
        def post(self) -> str:
            return ""

    app.add_url_rule("/report/", view_func=Report.as_view("report"))
    app.register_blueprint(api)
    return app


@pytest.fixture
def explain(shop: Flask, run: Run) -> Callable[..., Result]:
    def invoke(*arguments: str, columns: int = 100) -> Result:
        info = ScriptInfo(create_app=lambda: shop)
        return run("explain", *arguments, app=info, columns=columns)

    return invoke


def words(result: Result) -> str:
    """The output on one line."""
    return " ".join(result.output.split())


def routes(result: Result) -> dict[str, Any]:
    """The routes of a JSON output, by first method and path."""
    return {
        f"{(route['methods'] or [''])[0]} {route['path']}": route
        for route in json.loads(result.stdout)["routes"]
    }


def test_every_route_is_listed_in_short(explain: Callable[..., Result]) -> None:
    """Methods that meet the same limits share a line; what matches no route has its own."""
    result = explain()
    assert result.exit_code == 0
    assert [line.split("  ", 2)[1].strip() for line in result.output.splitlines()[1:]] == [
        "GET /static/<path:filename>",
        "GET /",
        "GET /health",
        "GET /report/",
        "POST /report/",
        "GET /api/users/<int:number>",
        "POST /api/users/<int:number>",
        "no route (404, 405)",
    ]
    listed = words(result)
    assert "GET / app:1000/hour, default:100/day, route:5/minute" in listed
    assert "GET /health exempt" in listed
    assert "POST /report/ app:1000/hour, default:100/day, route:2 in flight" in listed


def test_one_route_is_explained_in_the_order_of_asking(explain: Callable[..., Result]) -> None:
    """Each limit with its origin, whose count it is, and who is counted."""
    result = explain("/", columns=100)
    assert result.output.splitlines() == [
        "GET / (index):",
        "  1. app:1000/hour    declared on the app; counted for the whole app, by remote_address",
        "  2. default:100/day  declared as a default; counted for this route, by remote_address",
        "  3. route:5/minute   declared on the view; counted for this route, by remote_address",
    ]


def test_what_does_not_apply_says_why(explain: Callable[..., Result]) -> None:
    """Replaced limits name what replaced them, other methods' limits name their methods."""
    said = words(explain("api.user", "--method", "get"))
    assert "- default:100/day declared as a default; does not apply: replaced by route" in said
    assert (
        "- blueprint:50/day declared on the blueprint api; does not apply: replaced by route"
        in said
    )
    assert "- route:9/hour declared on the view; does not apply: only POST" in said
    assert "POST /api" not in said


def test_details_of_a_limit_are_told(explain: Callable[..., Result]) -> None:
    """Key, cost, shared name, algorithm and methods, where they are not the usual ones."""
    said = words(explain("/api/users/7", "--method", "POST"))
    assert (
        "counted for this route, by header('X-API-Key'); a request costs weight; only POST" in said
    )
    assert "counted for all that are named 'burst', by remote_address; fixed-window" in said
    assert "all requests together; unless is_admin" in words(explain("report", "--method", "POST"))


def test_a_limit_of_one_method_is_said_to_be_one(explain: Callable[..., Result]) -> None:
    """It stands on that method of the class, and counts for it alone."""
    said = words(explain("report", "--method", "post"))
    assert "route:2 in flight declared on the view's post(); counted for this method" in said


def test_an_exempt_route_says_so(explain: Callable[..., Result]) -> None:
    """The limits it escapes are shown as such."""
    said = words(explain("/health"))
    assert "- app:1000/hour declared on the app; does not apply: exempt" in said


@pytest.mark.parametrize(
    "wanted", ["/api/users/7", "/api/users/7?page=2", "/api/users/<int:number>", "api.user"]
)
def test_a_route_is_found_by_what_people_write(wanted: str, explain: Callable[..., Result]) -> None:
    """A path, a path with a query, the rule itself, or the endpoint."""
    assert "GET /api/users/<int:number> (api.user):" in explain(wanted).output


def test_a_missing_slash_is_forgiven(explain: Callable[..., Result]) -> None:
    """Flask would redirect there."""
    assert "GET /report/ (report):" in explain("/report").output


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("/helth", "Did you mean '/health'"),
        ("api.users", "Did you mean 'api.user'"),
        ("/zzz", "'flask concurrency explain' lists them all"),
        ("/api/users/x", "No route of 'shop' matches '/api/users/x'."),
    ],
)
def test_an_unknown_route_gets_a_hint(
    wanted: str, hint: str, explain: Callable[..., Result]
) -> None:
    """The message names what is close, and the exit code is that of a wrong call."""
    result = explain(wanted)
    assert result.exit_code == 2
    assert hint in words(result)


def test_a_method_the_route_does_not_take_is_named(explain: Callable[..., Result]) -> None:
    """Together with those it takes."""
    result = explain("/", "--method", "DELETE")
    assert result.exit_code == 2
    assert "'/' does not take DELETE, only GET, HEAD." in words(result)


def test_json_says_the_same_in_numbers(explain: Callable[..., Result]) -> None:
    """Whole and valid, with names, quotas and periods, for scripts."""
    result = explain("--json")
    said = json.loads(result.stdout)
    assert {key: said[key] for key in ("app", "enabled", "store", "unreached")} == {
        "app": "shop",
        "enabled": True,
        "store": "host://",
        "unreached": [],
    }
    index = routes(result)["GET /"]
    assert (index["endpoint"], index["methods"], index["exempt"]) == (
        "index",
        ["GET", "HEAD"],
        False,
    )
    limit = index["limits"][2]
    assert (limit["name"], limit["quota"], limit["period"]) == ("route:5/minute", 5, 60.0)
    assert routes(result)[" None"]["limits"][0]["name"] == "app:1000/hour"


def used_shop() -> Flask:
    """An app that one client has asked twice; each call is another process's view of it."""
    app = Flask("shop")
    concurrency = Concurrency(app, store="host://", default_limits="100/day")
    busy = concurrency.limit(InFlight(4, max_queue=8, max_wait=1.0))
    chosen = concurrency.limit(lambda: "7/hour")
    app.get("/")(busy(chosen(concurrency.limit("5/minute")(lambda: iter(["hello"])))))
    return app


def test_what_is_left_for_a_client_is_told_with_its_key(run: Run) -> None:
    """Limit by limit, as the running server counts; what a function chooses is unknown here."""
    worker = used_shop()
    worker.test_client().get("/")
    held = worker.test_client().get("/", buffered=False)
    info = ScriptInfo(create_app=used_shop)
    for _ in range(2):  # to look spends nothing
        said = words(run("explain", "/", "--key", "127.0.0.1", app=info, columns=100))
        assert "by remote_address; 98 of 100 left, more in" in said
        assert "all requests together; 3 of 4 left, 0 of 8 waiting" in said
        assert "by remote_address; 3 of 5 left, more in" in said
        assert "how much is left is known only within a request" in said
    in_short = words(run("explain", "--key", "127.0.0.1", app=info, columns=200))
    assert "default:100/day (98 left), route:4 in flight (3 left), route:chosen by" in in_short
    held.close()


def test_what_is_left_is_told_to_scripts(run: Run) -> None:
    """Beside the limits, under the same names; without a key nothing is read."""
    info = ScriptInfo(create_app=used_shop)
    route = routes(run("explain", "--json", "--key", "192.0.2.7", app=info))["GET /"]
    found = [(each["name"], each["remaining"], each["used"]) for each in route["counts"]]
    assert found == [
        ("default:100/day", 100, 0),
        ("route:4 in flight", 4, 0),
        ("route:5/minute", 5, 0),
    ]
    assert "counts" not in routes(run("explain", "--json", app=info))["GET /"]


def test_no_password_is_shown(run: Run) -> None:
    """Not in JSON either, which ends up in logs."""
    app = Flask("shop")
    Concurrency(app, store="redis://me:secret@redis.example:6379/2?password=secret")
    result = run("explain", "--json", app=ScriptInfo(create_app=lambda: app))
    assert json.loads(result.stdout)["store"] == "redis://redis.example:6379/2"


def test_json_of_one_route_holds_only_that(explain: Callable[..., Result]) -> None:
    """With the method asked for."""
    assert list(routes(explain("report", "--method", "POST", "--json"))) == ["POST /report/"]


@pytest.mark.parametrize("columns", [30, 44, 80, 200])
@pytest.mark.parametrize("wanted", [(), ("/",)])
def test_no_line_is_wider_than_the_terminal(
    columns: int, wanted: tuple[str, ...], explain: Callable[..., Result]
) -> None:
    """Long ones go on below; only a rule that is longer by itself sticks out."""
    lines = explain(*wanted, columns=columns).output.splitlines()
    assert [line for line in lines if len(line) > columns and "/<" not in line] == []


def test_an_app_without_the_extension_is_told_politely(run: Run) -> None:
    """It explains what to add, and fails, since a script may rely on the answer."""
    result = run("explain", app=ScriptInfo(create_app=lambda: Flask("plain")))
    assert result.exit_code == 1
    assert "'plain' has no limits" in result.output
    assert "Concurrency(app)" in result.output


def test_somebody_elses_state_is_not_taken_for_ours(run: Run) -> None:
    """``app.extensions`` is one namespace for every extension there is."""
    app = Flask("plain")
    app.extensions["concurrency"] = object()
    assert run("explain", app=ScriptInfo(create_app=lambda: app)).exit_code == 1


def test_switched_off_limits_are_said_to_be_off(run: Run) -> None:
    """What is listed would apply if it were on."""
    app = Flask("shop")
    app.config["CONCURRENCY_ENABLED"] = False
    Concurrency(app, default_limits="100/day")
    said = run("explain", app=ScriptInfo(create_app=lambda: app)).output
    assert said.startswith("CONCURRENCY_ENABLED is False")


def test_what_no_route_reaches_is_warned_of(run: Run) -> None:
    """On the error stream beside the list, and in JSON as a list of its own."""
    app = Flask("shop")
    admin = Concurrency(app).limit("5/minute")(Blueprint("admin", "shop.admin"))
    info = ScriptInfo(create_app=lambda: app)
    warned = " ".join(run("explain", app=info).stderr.split())
    assert f"No route reaches blueprint {admin.name!r}" in warned
    (found,) = json.loads(run("explain", "--json", app=info).stdout)["unreached"]
    assert found["name"] == "blueprint 'admin'"


def test_how_long_an_answer_may_take_is_told(run: Run) -> None:
    """In short, in full and as JSON; with limits, without, and where none apply."""
    app = Flask("shop", static_folder=None)
    concurrency = Concurrency(app)

    def add(name: str, view: Callable[[], str]) -> None:
        app.add_url_rule(f"/{name}", name, view)

    add("limited", concurrency.limit("5/minute")(concurrency.deadline(2)(lambda: "")))
    add("free", concurrency.deadline(0.5)(lambda: ""))
    add("exempt", concurrency.exempt(concurrency.deadline(30)(lambda: "")))
    info = ScriptInfo(create_app=lambda: app)
    in_short = run("explain", app=info, columns=200).output
    assert "route:5/minute; within 2 s" in in_short
    assert "no limits; within 0.5 s" in in_short
    assert "exempt; within 30 s" in in_short
    in_full = run("explain", "/free", app=info, columns=200).output
    assert "every request comes in" in in_full
    assert "answered within 0.5 s, or 504" in in_full
    told = json.loads(run("explain", "/limited", "--json", app=info).stdout)
    assert [route["deadline"] for route in told["routes"]] == [2]


def test_a_count_of_each_process_is_said_to_be_one(run: Run) -> None:
    """By whom it counts there as elsewhere, not by what the library makes of it."""
    app = Flask("shop")
    concurrency = Concurrency(app)
    one = InFlight(1, scope="process")
    app.get("/all")(concurrency.limit(one)(lambda: ""))
    app.get("/each", endpoint="each")(concurrency.limit(one, key=weight)(lambda: ""))
    told = run("explain", "/all", app=ScriptInfo(create_app=lambda: app)).stdout
    assert "counted for this route, all requests together, in each process" in " ".join(
        told.split()
    )
    told = run("explain", "/each", app=ScriptInfo(create_app=lambda: app)).stdout
    assert "counted for this route, by weight, in each process" in " ".join(told.split())


HOSTS = [
    ("/", ["GET //a.test/ (a)", "GET //b.test/ (b)"]),
    ("http://b.test/", ["GET //b.test/ (b)"]),
    ("/of/7", ["GET //b.test/of/<int:number> (of)"]),
]


@pytest.mark.parametrize(("wanted", "titles"), HOSTS)
def test_routes_of_several_hosts_are_told_apart(wanted: str, titles: list[str], run: Run) -> None:
    """A path is looked for on each of them, a URL on its own."""
    app = Flask("hosts", host_matching=True, static_host="a.test")
    Concurrency(app)
    app.add_url_rule("/", "a", lambda: "", host="a.test")
    app.add_url_rule("/", "b", lambda: "", host="b.test")
    app.add_url_rule("/of/<int:number>", "of", lambda number: "", host="b.test")
    told = run("explain", wanted, app=ScriptInfo(create_app=lambda: app)).stdout
    assert [line.rstrip(":") for line in told.splitlines() if line.startswith("GET")] == titles


def test_routes_of_subdomains_are_told_apart(run: Run) -> None:
    """Those that have none look as ever."""
    app = Flask("tenants", subdomain_matching=True)
    app.config["SERVER_NAME"] = "shop.test"
    Concurrency(app)
    app.add_url_rule("/x", "tenant", lambda tenant: "", subdomain="<tenant>")
    app.add_url_rule("/x", "own", lambda: "")
    script = ScriptInfo(create_app=lambda: app)
    assert "GET //<tenant>.…/x (tenant)" in run("explain", "/x", app=script).stdout
    told = run("explain", "http://shop.test/x", app=script).stdout
    assert told.startswith("GET /x (own)")


def test_an_adaptive_limit_is_explained(run: Run) -> None:
    """What it admits, in which processes, by whom shares are counted; and what matters most."""
    app = Flask("shop")
    concurrency = Concurrency(app, app_limits="10/minute; adaptive 500ms")

    @app.post("/pay")
    @concurrency.priority("critical")
    def pay() -> str:
        return ""

    @app.get("/chosen")
    @concurrency.priority(lambda: "low")
    def chosen() -> str:
        return ""

    info = ScriptInfo(create_app=lambda: app)
    told = run("explain", "/pay", app=info).output
    assert "1. app:adaptive 500ms" in told
    assert "2. app:10/minute" in told
    words = " ".join(told.split())
    assert "as many as are answered within 0.5 s, in each process by itself" in words
    assert "fair shares by remote_address" in words
    assert "critical, where an adaptive limit cannot admit all requests" in words
    assert "what tells the age of requests is known once one serves them" in words
    assert "app:adaptive 500ms, app:10/minute; critical" in " ".join(
        run("explain", app=info).output.split()
    )
    assert "chosen by" in run("explain", "/chosen", app=info).output
    (route,) = [
        route
        for route in json.loads(run("explain", "--json", app=info).output)["routes"]
        if route["path"] == "/pay"
    ]
    assert route["priority"] == "critical"
    assert route["limits"][0]["answer_within"] == 0.5
