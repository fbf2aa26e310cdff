"""A task sees its caller's request, and has an app context of its own."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import (
    Flask,
    abort,
    current_app,
    g,
    has_app_context,
    has_request_context,
    render_template_string,
    request,
    session,
    url_for,
)

from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.flask_app.work.task_context import FlaskCarrier
from noted_teardowns import noting_app, teardowns


@pytest.fixture
def app() -> Flask:
    """An app that notes every teardown."""
    return noting_app()


def test_a_map_in_a_view_reads_the_request_in_order(app: Flask, threads: ThreadExecutor) -> None:
    """Five tasks, five results, each from the same request."""

    @app.get("/page/<int:number>")
    def page(number: int) -> list[str]:
        return list(threads.map(lambda i: f"{request.path}?{request.args['q']} {i}", range(number)))

    answer = app.test_client().get("/page/5?q=x")
    assert answer.json == [f"/page/5?x {i}" for i in range(5)]


def test_what_depends_on_the_request_works_in_a_task(app: Flask, threads: ThreadExecutor) -> None:
    """Sessions, URLs, templates and the current app, through the usual names."""

    @app.get("/")
    def index() -> dict[str, object]:
        session["user"] = "Ada"

        def task() -> dict[str, object]:
            return {
                "user": session["user"],
                "url": url_for("index", _external=True),
                "endpoint": request.endpoint,
                "page": render_template_string("{{ session.user }} at {{ request.path }}"),
                "app": current_app.name,
            }

        return threads.submit(task).result(5)

    assert app.test_client().get("/", base_url="https://example.org").json == {
        "user": "Ada",
        "url": "https://example.org/",
        "endpoint": "index",
        "page": "Ada at /",
        "app": app.name,
    }


def test_pitfall_3_overlapping_tasks_have_a_context_each(
    app: Flask, threads: ThreadExecutor
) -> None:
    """Four tasks of one request are inside their contexts at the same time, several times over."""
    barrier = threading.Barrier(4, timeout=5)

    def task(i: int) -> tuple[int, str]:
        g.number = i
        barrier.wait()
        return g.number, request.path

    with app.test_request_context("/here"):
        assert list(threads.map(task, range(12))) == [(i, "/here") for i in range(12)]


def test_overlapping_requests_keep_to_themselves(app: Flask, threads: ThreadExecutor) -> None:
    """Requests on several threads at once, each with overlapping tasks: each reads its own."""
    inside = threading.Barrier(4, timeout=5)

    @app.get("/user/<name>")
    def user(name: str) -> list[str]:
        inside.wait()
        session["name"] = g.name = name

        def task(i: int) -> str:
            assert "name" not in g
            return f"{session['name']} {request.view_args} {i}"

        return list(threads.map(task, range(3)))

    def ask(i: int) -> object:
        return app.test_client().get(f"/user/{i}").json

    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(ask, range(20)))
    assert answers == [[f"{n} {{'name': '{n}'}} {i}" for i in range(3)] for n in range(20)]


def test_pitfall_4_g_is_new_in_every_task(app: Flask, threads: ThreadExecutor) -> None:
    """Neither the view's nor another task's shows through, and nothing shows up in the view's."""
    with app.test_request_context():
        g.of_the_view = True

        def task(i: int) -> list[str]:
            setattr(g, f"of_task_{i}", True)
            return sorted(g)

        assert list(threads.map(task, range(3))) == [["of_task_0"], ["of_task_1"], ["of_task_2"]]
        assert sorted(g) == ["of_the_view"]


def test_pitfall_4_a_body_the_view_has_read_is_there_in_every_task(
    app: Flask, threads: ThreadExecutor
) -> None:
    """Read first, then hand out: what is parsed is shared, and no two threads read the stream."""

    @app.post("/")
    def index() -> list[object]:
        assert request.is_json
        request.get_json()
        return list(threads.map(lambda key: request.get_json()[key], ["a", "b", "a", "b"]))

    assert app.test_client().post("/", json={"a": 1, "b": 2}).json == [1, 2, 1, 2]


def test_pitfall_4_the_session_is_the_views(app: Flask, threads: ThreadExecutor) -> None:
    """What a task changes before the response is in the cookie."""

    @app.get("/set")
    def set_it() -> str:
        threads.submit(session.__setitem__, "seen", True).result(5)
        return ""

    @app.get("/get")
    def get_it() -> dict[str, object]:
        return dict(session)

    client = app.test_client()
    client.get("/set")
    assert client.get("/get").json == {"seen": True}


def test_pitfall_5_every_task_tears_its_app_context_down_once(
    app: Flask, threads: ThreadExecutor
) -> None:
    """In the task's thread, with the task's error; the request's own teardown runs at its end."""
    torn_down_requests: list[str] = []
    app.teardown_request(lambda error: torn_down_requests.append(request.path))

    def task(fails: bool) -> None:
        if fails:
            raise LookupError("the task's")

    @app.get("/")
    def index() -> str:
        ok, error = threads.submit(task, False), threads.submit(task, True)
        assert ok.exception(5) is None
        assert isinstance(error.exception(5), LookupError)
        assert {type(error) for _, error in teardowns(app)} == {type(None), LookupError}
        assert threading.get_ident() not in dict(teardowns(app))
        assert torn_down_requests == []
        return ""

    app.test_client().get("/")
    assert len(teardowns(app)) == 3
    assert torn_down_requests == ["/"]


def test_pitfall_5_a_connection_per_app_context_is_never_shared(
    app: Flask, threads: ThreadExecutor
) -> None:
    """The pattern of Flask's own tutorial, which sqlite3 polices: one thread to a connection."""
    opened: list[sqlite3.Connection] = []

    def connection() -> sqlite3.Connection:
        if "db" not in g:
            g.db = sqlite3.connect(":memory:")
            opened.append(g.db)
        db: sqlite3.Connection = g.db
        return db

    @app.teardown_appcontext
    def close(_: BaseException | None) -> None:
        if (db := g.pop("db", None)) is not None:
            db.close()

    with app.test_request_context():
        connection().execute("SELECT 1")
        query = "SELECT ?"
        rows = threads.map(lambda i: connection().execute(query, (i,)).fetchone()[0], range(8))
        assert list(rows) == list(range(8))
        connection().execute("SELECT 1")
    assert len(opened) == 9
    for db in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            db.total_changes  # noqa: B018


def test_a_nested_task_has_an_app_context_of_its_own_too(app: Flask) -> None:
    """Also where it runs inline, in the thread of its parent."""
    with ThreadExecutor(1, carry=FlaskCarrier()) as threads, app.test_request_context("/here"):

        def parent() -> list[object]:
            g.of_the_parent = True
            return [*threads.map(child, range(2)), "of_the_parent" in g, request.path]

        def child(i: int) -> object:
            g.of_the_child = i
            return ["of_the_parent" in g, request.path]

        expected = [[False, "/here"], [False, "/here"], True, "/here"]
        assert threads.submit(parent).result(5) == expected
        assert len(teardowns(app)) == 3


def test_an_error_in_a_task_is_an_error_of_the_view(app: Flask, threads: ThreadExecutor) -> None:
    """Error handlers see it as if the view had raised it; ``abort`` too."""

    @app.errorhandler(LookupError)
    def not_found(error: LookupError) -> tuple[str, int]:
        return str(error), 404

    @app.get("/raise")
    def raise_it() -> list[object]:
        return list(threads.map({}.__getitem__, ["key"]))

    @app.get("/abort")
    def abort_it() -> str:
        return threads.submit(abort, 418).result(5)

    client = app.test_client()
    assert (client.get("/raise").status_code, client.get("/raise").text) == (404, "'key'")
    assert client.get("/abort").status_code == 418


def test_outside_a_request_a_task_has_the_app(app: Flask, threads: ThreadExecutor) -> None:
    """In a command or a script with an app context of its own."""
    app.cli.command("count")(
        lambda: print(*threads.map(lambda i: f"{current_app.name}{i}", range(3)))
    )
    result = app.test_cli_runner().invoke(args=["count"])
    assert result.output == " ".join(f"{app.name}{i}" for i in range(3)) + "\n"
    with app.app_context():
        assert threads.submit(lambda: has_app_context() and not has_request_context()).result(5)


def test_without_any_context_a_task_is_a_plain_call(threads: ThreadExecutor) -> None:
    """At start-up, before there is an app."""
    assert threads.submit(has_app_context).result(5) is False


def test_without_any_context_the_given_app_is_the_one(app: Flask) -> None:
    """It has its context in every task, torn down as ever; an active app comes first."""
    other = Flask("other")
    with ThreadExecutor(1, carry=FlaskCarrier(app)) as threads:
        assert threads.submit(lambda: current_app.name).result(5) == app.name
        assert len(teardowns(app)) == 1
        with other.app_context():
            assert threads.submit(lambda: current_app.name).result(5) == "other"


def test_pitfall_7_a_thread_keeps_no_context_between_tasks(app: Flask) -> None:
    """The thread was started in a request; the next task comes from outside and sees nothing."""
    with ThreadExecutor(1, carry=FlaskCarrier()) as threads:
        with app.test_request_context():
            assert threads.submit(has_request_context).result(5)
        assert not threads.submit(has_app_context).result(5)
