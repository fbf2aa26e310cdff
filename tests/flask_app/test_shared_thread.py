"""Async views share a thread: what is kept by thread can be kept by request, or apart, or is named.

The two requests of each test meet at a barrier: one has begun something and waits, while the other
one commits.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import peewee
import pytest
from flask import Blueprint, Flask
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from flask_concurrency import Concurrency, ConfigurationError, ScopeLocal, current_scope
from flask_concurrency.flask_app.work import thread_locals


@pytest.fixture
def app() -> Flask:
    """An app under test."""
    app = Flask(__name__)
    app.testing = True
    return app


@pytest.fixture
def concurrency(app: Flask) -> Iterator[Concurrency]:
    """Its extension."""
    concurrency = Concurrency(app)
    yield concurrency
    concurrency.threads.shutdown()
    concurrency.loop.shutdown()


class Meeting:
    """Two requests, whose steps follow each other whatever threads and loops they have."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.committed = threading.Event()

    async def wait_for(self, event: threading.Event) -> None:
        await asyncio.get_running_loop().run_in_executor(None, event.wait, 30)


def ask_both(app: Flask) -> list[int]:
    """Both requests at once, each on a thread of its server."""
    with ThreadPoolExecutor(2) as server:
        asked = [server.submit(app.test_client().get, path) for path in ("/refused", "/visit")]
        return [each.result(30).status_code for each in asked]


def add_order_views(app: Flask, session: Any) -> Any:
    """One request takes its order back, while another one commits a visit."""
    meeting = Meeting()

    @app.get("/refused")
    async def refused() -> str:
        session.execute(text("insert into orders values ('refused order')"))
        meeting.begun.set()
        await meeting.wait_for(meeting.committed)
        session.rollback()
        return "no"

    @app.get("/visit")
    async def visit() -> str:
        await meeting.wait_for(meeting.begun)
        session.execute(text("select 1"))
        session.commit()
        meeting.committed.set()
        return "ok"

    return meeting


def make_session(path: Any, **options: Any) -> Any:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("create table orders (what text)"))
    return scoped_session(sessionmaker(engine), **options)


def rows(session: Any) -> list[str]:
    found = [row[0] for row in session.execute(text("select what from orders"))]
    session.remove()
    return found


def test_a_session_by_scope_is_a_requests_own(
    app: Flask, concurrency: Concurrency, tmp_path: Any
) -> None:
    """What one request took back is not committed by another one."""
    session = make_session(tmp_path / "db", scopefunc=current_scope)
    app.teardown_appcontext(lambda error: session.remove())
    add_order_views(app, session)
    assert ask_both(app) == [200, 200]
    assert rows(session) == []


@pytest.mark.parametrize("target", ["app", "blueprint", "views"])
def test_views_that_run_as_in_flask_share_no_thread(
    app: Flask, concurrency: Concurrency, tmp_path: Any, target: str
) -> None:
    """With the session that Flask's documentation shows, kept by thread."""
    session = make_session(tmp_path / "db")
    app.teardown_appcontext(lambda error: session.remove())
    as_in_flask = concurrency.runs_on("flask")
    if target == "app":
        as_in_flask(app)
        add_order_views(app, session)
    elif target == "blueprint":
        blueprint = Blueprint("shop", __name__)
        add_order_views(blueprint, session)  # type: ignore[arg-type]
        app.register_blueprint(as_in_flask(blueprint))
    else:
        add_order_views(app, session)
        for name in ("refused", "visit"):
            as_in_flask(app.view_functions[name])
    assert ask_both(app) == [200, 200]
    assert rows(session) == []


def test_the_narrowest_place_wins(app: Flask, concurrency: Concurrency) -> None:
    """A view of an app that runs as in Flask may be sent back to the shared loop."""
    seen: dict[str, int] = {}

    @app.get("/own")
    async def own() -> str:
        seen["own"] = threading.get_ident()
        return ""

    @app.get("/shared")
    @concurrency.runs_on("threads")
    async def shared() -> str:
        seen["shared"] = threading.get_ident()
        return ""

    assert concurrency.runs_on("flask")(app) is app
    for path in ("/own", "/shared"):
        assert app.test_client().get(path).status_code == 200
    assert seen["own"] == threading.get_ident()
    assert seen["shared"] != threading.get_ident()
    with pytest.raises(ConfigurationError, match='"loop", "threads" or "flask"'):
        concurrency.runs_on("django")  # type: ignore[arg-type]


def test_a_loop_of_ones_own_knows_context_variables_deadlines_and_loops(
    app: Flask, concurrency: Concurrency
) -> None:
    """It is left with what it started, ends at the deadline, and may be inside of another loop."""
    concurrency.runs_on("flask")(app)

    @app.get("/late")
    @concurrency.deadline(0.01)
    async def late() -> str:
        await asyncio.sleep(30)
        return "never"

    @app.get("/inner")
    async def inner() -> str:
        return "inner"

    @app.get("/outer")
    async def outer() -> str:
        return app.test_client().get("/inner").text + " of outer"

    client = app.test_client()
    assert client.get("/late").status_code == 504
    assert client.get("/outer").text == "inner of outer"


def test_a_database_of_peewee_by_scope_is_a_requests_own(
    app: Flask, concurrency: Concurrency, tmp_path: Any
) -> None:
    """Each of two requests at once opens and closes a connection of its own."""
    database: Any = peewee.SqliteDatabase(tmp_path / "db", check_same_thread=False)

    class State(ScopeLocal, peewee._ConnectionState):
        pass

    database._state = State()

    @app.before_request
    def connect() -> None:
        database.connect()

    @app.teardown_request
    def close(error: BaseException | None) -> None:
        database.close()

    meeting = Meeting()

    @app.get("/refused")
    async def first() -> str:
        meeting.begun.set()
        await meeting.wait_for(meeting.committed)
        return str(database.execute_sql("select 1").fetchone())

    @app.get("/visit")
    async def second() -> str:
        await meeting.wait_for(meeting.begun)
        meeting.committed.set()
        return str(database.execute_sql("select 2").fetchone())

    assert ask_both(app) == [200, 200]
    assert database.is_closed()


def test_a_scope_local_is_a_thread_local_outside_of_an_app(app: Flask) -> None:
    """Prepared in each scope, and gone from one to the next."""

    class Local(ScopeLocal):
        def __init__(self, start: int) -> None:
            self.count = start

    local = Local(3)
    local.count += 1
    assert local.count == 4
    with app.app_context():
        assert local.count == 3
        local.more = 1
        assert local.more == 1
        del local.more
        with pytest.raises(AttributeError, match="no attribute 'more' in this scope"):
            local.more  # noqa: B018
        with pytest.raises(AttributeError):
            del local.more
        with app.app_context():
            assert local.count == 3
    with ThreadPoolExecutor(1) as other:
        assert other.submit(lambda: local.count).result(30) == 3
    assert local.count == 4
    assert current_scope() == current_scope()


def looked() -> None:
    """Wait for the threads that look for what is kept by thread."""
    for thread in threading.enumerate():
        if thread.name == thread_locals.NAME:
            thread.join(30)


def test_what_is_kept_by_thread_is_named_at_the_first_async_view(
    app: Flask, concurrency: Concurrency, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with the remedy; and not for an app whose views run as in Flask."""

    @app.get("/")
    async def view() -> str:
        return ""

    session = make_session(tmp_path / "db")
    looked()  # for the apps of other tests
    with caplog.at_level(logging.WARNING):
        concurrency.runs_on("flask")(app)
        assert app.test_client().get("/").status_code == 200
        assert caplog.records == []
        concurrency.runs_on("threads")(app)
        assert app.test_client().get("/").status_code == 200
        assert app.test_client().get("/").status_code == 200
        looked()
    told = [each.getMessage() for each in caplog.records]
    assert len([each for each in told if "scopefunc=flask_concurrency.current_scope" in each]) == 1
    assert rows(session) == []
