"""Engines: Celery named by the configuration, several apps, clocks that differ, lost messages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from flask import Flask

from flask_concurrency import Concurrency, ConfigurationError
from flask_concurrency.flask_app.jobs.app_jobs import AppJobs, jobs_of
from flask_concurrency.flask_app.jobs.engine import CarriedJobs
from flask_concurrency.jobs.ledger import Outcome
from flask_concurrency.jobs.sqlite_ledger import SqliteLedger
from flask_concurrency.testing.manual_clock import ManualClock


@pytest.fixture
def celery() -> Iterator[Celery]:
    """A Celery application without a broker."""
    made = Celery("shop", broker="memory://", set_as_current=False)
    yield made
    made.close()


def app_with(options: dict[str, Any], celery: Celery | None = None, name: str = "shop") -> Flask:
    """An app with these options of jobs."""
    app = Flask(name)
    app.testing = True
    if celery is not None:
        app.extensions["celery"] = celery
    app.config["CONCURRENCY_JOBS"] = options
    concurrency = Concurrency(app)

    @concurrency.job
    def report(year: int = 2026) -> int:
        return year

    app.extensions["report_of_test"] = report
    return app


def jobs(app: Flask) -> AppJobs:
    """The jobs of an app."""
    found = jobs_of(app)
    assert found is not None
    return found


def test_the_celery_application_of_the_app_is_found(celery: Celery) -> None:
    """Where Flask's own documentation puts it."""
    app = app_with({"engine": "celery"}, celery)
    assert f"flask_concurrency.run_job:{jobs(app).namespace}" in celery.tasks


def test_a_celery_application_is_named_as_text(
    celery: Celery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an environment variable can; also in the module that is just being imported."""
    (tmp_path / "named_shop.py").write_text(
        "from celery import Celery\nfrom flask import Flask\n"
        "from flask_concurrency import Concurrency\n"
        "class Shop:\n    celery = Celery('shop', broker='memory://', set_as_current=False)\n"
        "app = Flask(__name__)\n"
        "app.testing = True\n"
        "app.config.from_prefixed_env()\n"
        "concurrency = Concurrency(app)\n"
        "concurrency.job(name='report')(lambda: None)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    place = '{"engine": "celery", "app": "named_shop:Shop.celery"}'
    monkeypatch.setenv("FLASK_CONCURRENCY_JOBS", place)
    try:
        shop = __import__("named_shop")
        assert "flask_concurrency.run_job:named_shop" in shop.Shop.celery.tasks
        shop.Shop.celery.close()
    finally:
        sys.modules.pop("named_shop", None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"engine": "celery"}, r"nothing in app.extensions\['celery'\]"),
        ({"engine": "celery", "app": "sys:path"}, "a list in 'sys:path', and no Celery app"),
        ({"engine": "celery", "app": "sys:nothing"}, "'sys' has no such name"),
        ({"engine": "celery", "app": "no_such_module:celery"}, "no module 'no_such_module'"),
        ({"engine": "celery", "app": "sys.nowhere:celery"}, "no module 'sys.nowhere'"),
        ({"engine": "celery", "app": "celery"}, 'such as "shop:celery"'),
        ({"app": "shop:celery"}, "'engine' is not 'celery'"),
        ({"engine": "rq"}, "give 'celery', a Celery application, or a function"),
        ({"engine": "redis://localhost"}, "write it as 'ledger'"),
        ({"engine": "sqlite"}, "write it as 'ledger'"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(options: dict[str, Any], told: str) -> None:
    """When the app starts, with the remedy."""
    with pytest.raises(ConfigurationError, match=told):
        app_with(options)


def test_a_celery_application_that_comes_too_late_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the line that makes the app's jobs."""
    (tmp_path / "late_shop.py").write_text(
        "from flask import Flask\nfrom flask_concurrency import Concurrency\n"
        "app = Flask(__name__)\n"
        "app.config['CONCURRENCY_JOBS'] = {'engine': 'celery', 'app': 'late_shop:celery'}\n"
        "Concurrency(app).job(lambda: None)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError, match="above the line"):
        __import__("late_shop")


def test_a_missing_celery_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setitem(sys.modules, "celery", None)
    with pytest.raises(ConfigurationError, match=r"pip install \"Flask-Concurrency\[celery\]\""):
        app_with({"engine": "celery"})


def test_an_error_of_the_named_module_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for a module that is missing."""
    (tmp_path / "broken_shop.py").write_text("import a_module_that_it_needs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="a_module_that_it_needs"):
        app_with({"engine": "celery", "app": "broken_shop:celery"})


def test_two_apps_may_share_a_celery_application(celery: Celery) -> None:
    """Each message is for the app whose job it is."""
    apps = [app_with({"engine": "celery"}, celery, name) for name in ("one", "two")]
    for app in apps:
        with app.app_context():
            id = app.extensions["report_of_test"].submit(7).id
        ours = celery.tasks[f"flask_concurrency.run_job:{jobs(app).namespace}"]
        assert ours(id) == "succeeded"
        jobs(app).ledger.leave(_worker_of(app))
        jobs(app).ledger.close()


def _worker_of(app: Flask) -> str:
    (worker,) = jobs(app).ledger.workers()
    return worker.id


@dataclass
class Sent:
    """An engine that only notes what is sent."""

    messages: list[tuple[str, float]] = field(default_factory=list)

    def __call__(self, app: Flask, of_app: AppJobs) -> Sent:
        return self

    def send(self, id: str, queue: str, delay: float) -> None:
        self.messages.append((id, delay))

    def taken(self) -> list[tuple[str, float]]:
        """What was sent since the last time."""
        taken, self.messages = self.messages, []
        return taken


@dataclass
class Carried:
    """An app whose ledger's clock is decades behind this machine's."""

    app: Flask
    sent: Sent
    clock: ManualClock
    ledger: SqliteLedger

    def submit(self, **options: float) -> str:
        """Submit a job; its id."""
        with self.app.app_context():
            id: str = self.app.extensions["report_of_test"].with_options(**options).submit().id
            return id


@pytest.fixture
def carried(tmp_path: Path) -> Iterator[Carried]:
    """Jobs that an engine carries."""
    sent, clock = Sent(), ManualClock(10_000.0)
    app = app_with({"engine": sent})
    ledger = SqliteLedger(tmp_path / "j.sqlite3", app="shop", volatile=True, clock=clock)
    jobs(app).use(ledger)
    yield Carried(app, sent, clock, ledger)
    ledger.close()


def test_the_ledgers_clock_says_when_a_message_is_due(carried: Carried) -> None:
    """21: a new job at once, a delayed one and a retry after their time."""
    now = carried.submit()
    later = carried.submit(delay=60.0)
    assert carried.sent.taken() == [(now, 0.0), (later, 60.0)]
    carried.ledger.claim("w1", ["report"], 1)
    carried.ledger.end(now, 1, Outcome("refused", error={"type": "x", "title": "", "detail": ""}))
    again = carried.ledger.retry(now)
    assert again is not None
    jobs(carried.app).send(again)
    assert carried.sent.taken() == [(now, 0.0)]


def test_a_lost_message_is_sent_again_and_less_often_each_time(carried: Carried) -> None:
    """21: half a minute after its time by the ledger's clock; a long queue is not flooded."""
    id = carried.submit()
    carried.sent.taken()
    looking = CarriedJobs(carried.app, jobs(carried.app))
    sent_after = []
    for second in range(0, 500, 2):
        looking.sweep()
        sent_after += [second for _ in carried.sent.taken()]
        carried.clock.advance(2.0)
    assert sent_after == [30, 60, 120, 240, 480]
    carried.ledger.claim("w1", ["report"], 1)
    carried.ledger.end(id, 1, Outcome("succeeded", result="1"))
    looking.sweep()
    assert looking._waits == {}


def test_what_waits_for_an_engine_is_no_missing_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers are known here only once they have run a job."""
    app = Flask("shop", instance_path=str(tmp_path))
    app.config["CONCURRENCY_JOBS"] = {"engine": Sent()}
    concurrency = Concurrency(app)
    logged: list[str] = []
    monkeypatch.setattr(
        "flask_concurrency.flask_app.jobs.app_jobs.logger.warning",
        lambda text, *_: logged.append(text),
    )

    @concurrency.job
    def report() -> None: ...

    with app.app_context():
        report.submit()
    assert logged == []
    jobs(app).ledger.close()
