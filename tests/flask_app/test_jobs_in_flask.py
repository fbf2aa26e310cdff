"""Jobs in an app: how they are declared, submitted and waited for, and what is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_concurrency import (
    Concurrency,
    ConfigurationError,
    IdempotencyConflict,
    JobCanceled,
    JobError,
    JobFailed,
    JobNotDone,
    JobNotFound,
    JobNotJson,
    JobsUnavailable,
)
from flask_concurrency.flask_app.jobs.app_jobs import AppJobs, find_function, jobs_of
from flask_concurrency.flask_app.jobs.declared_job import DeclaredJob
from flask_concurrency.jobs.ledger import Filter, Ledger, Outcome, WorkerInfo
from flask_concurrency.jobs.sqlite_schema import filesystem_of


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """An app whose jobs are in a file of this test."""
    app = Flask("shop", instance_path=str(tmp_path / "instance"))
    app.testing = True
    yield app
    found = jobs_of(app)
    if found is not None:
        found.ledger.close()


@pytest.fixture
def concurrency(app: Flask) -> Concurrency:
    return Concurrency(app)


@pytest.fixture
def report(concurrency: Concurrency) -> DeclaredJob[..., Any]:
    """A declared job."""

    @concurrency.job(retries=2, timeout=None)
    def report(year: int, *, currency: str = "EUR") -> list[object]:
        return [year, currency]

    return report


def ledger_of(app: Flask) -> Ledger:
    """Where an app's jobs are."""
    found = jobs_of(app)
    assert found is not None
    return found.ledger


def finish(app: Flask, outcome: Outcome) -> None:
    """Let a worker run the next job."""
    ledger = ledger_of(app)
    if not ledger.workers():
        ledger.join(WorkerInfo("w1", "here", 1, ("report",), 1, 0.0))
    (record,) = ledger.claim("w1", ["report"], 1)
    ledger.end(record.id, record.state.attempt, outcome)


def test_a_job_stays_a_function(report: DeclaredJob[..., Any]) -> None:
    """To call it runs it here and now; it keeps its name and text."""
    assert report(2026, currency="CHF") == [2026, "CHF"]
    assert (report.function.__name__, report.name, repr(report)) == (
        "report",
        "report",
        "<job 'report'>",
    )


def test_what_was_declared_wins_over_the_configuration(tmp_path: Path) -> None:
    """Options of the app are the defaults of its jobs."""
    app = Flask("shop", instance_path=str(tmp_path))
    app.testing = True
    app.config["CONCURRENCY_JOBS"] = {"retries": 7, "timeout": 60, "keep": 5}
    concurrency = Concurrency(app)

    @concurrency.job(retries=0, rerun=False)
    def report() -> None: ...

    with app.app_context():
        rules = report.submit()._record.rules
    assert (rules.retries, rules.timeout, rules.keep, rules.rerun) == (0, 60, 5, False)
    ledger_of(app).close()


def test_the_arguments_of_submit_are_the_functions(
    app: Flask, concurrency: Concurrency, report: DeclaredJob[..., Any]
) -> None:
    """A wrong one is reported where it is written, and nothing is kept."""
    with app.app_context():
        job = report.submit(2026, currency="CHF")
        assert concurrency.jobs.submit(report, 1).name == "report"
        with pytest.raises(TypeError, match="missing a required argument: 'year'"):
            report.submit()
        with pytest.raises(JobNotJson, match="arguments of 'report' cannot be written as JSON"):
            report.submit(object())
    assert job._record.call_arguments() == ([2026], {"currency": "CHF"})
    assert ledger_of(app).counts().queued == 2


def test_results_and_failures(
    app: Flask, concurrency: Concurrency, report: DeclaredJob[..., Any]
) -> None:
    """A result is what the function returned; what has none says why."""
    with app.app_context():
        job = report.submit(1)
        with pytest.raises(JobNotDone, match="is queued: it has no result yet"):
            job.result()
        finish(app, Outcome("succeeded", result='{"value":[1,"EUR"]}'))
        assert job.refresh().result() == [1, "EUR"]
        failed = report.submit(2)
        error = {"type": "error", "title": "ValueError", "detail": "no rows"}
        finish(app, Outcome("refused", error=error))
        with pytest.raises(JobFailed, match="ValueError: no rows") as raised:
            failed.refresh().result()
        assert raised.value.error == error
        assert failed.retry().status == "queued"
        with pytest.raises(JobNotDone, match="is queued: only one that failed"):
            failed.retry()
        assert failed.cancel().done
        with pytest.raises(JobCanceled):
            failed.result()
        with pytest.raises(JobNotFound):
            concurrency.jobs.get("none")
        assert [job.status for job in concurrency.jobs.list()] == ["canceled", "succeeded"]
        assert concurrency.jobs.cancel(job.id).status == "succeeded"
        assert concurrency.jobs.retry(failed.id).status == "queued"


def test_keys_delays_and_owners(app: Flask, report: DeclaredJob[..., Any]) -> None:
    """What is said of one submit holds for it alone."""
    with app.app_context():
        first = report.with_options(key="k", owner="ann", delay=60).submit(1)
        assert report.with_options(key="k", owner="ann").submit(1).replayed
        with pytest.raises(IdempotencyConflict):
            report.with_options(key="k", owner="ann").submit(2)
        assert first.owner == "ann"
        assert first._record.state.due_at == pytest.approx(first._record.created_at + 60)
        assert not report.submit(1).replayed


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"key": ""}, "give a text of 1 to 255 characters"),
        ({"key": "x" * 256}, "give a text of 1 to 255 characters"),
        ({"delay": -1}, "give seconds, at least 0"),
        ({"delay": float("inf")}, "give seconds, at least 0"),
        ({"delay": True}, "give seconds, at least 0"),
    ],
)
def test_options_of_a_submit_that_mean_nothing_are_refused(
    app: Flask, report: DeclaredJob[..., Any], options: dict[str, Any], told: str
) -> None:
    """Where they are written."""
    with app.app_context(), pytest.raises(ValueError, match=told):
        report.with_options(**options).submit(1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout": 0}, "timeout=0: give seconds"),
        ({"retries": -1}, "retries=-1: give a whole number"),
        ({"retries": 1.5}, "retries=1.5: give a whole number"),
        ({"backoff": "1"}, "backoff='1': give seconds"),
        ({"rerun": 1}, "rerun=1: give True or False"),
        ({"keep": float("nan")}, "keep=nan: give seconds"),
        ({"name": ""}, "name=''"),
        ({"queue": 3}, "queue=3"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(
    concurrency: Concurrency, options: dict[str, Any], told: str
) -> None:
    """When the module is imported, with the value and what is wanted."""
    with pytest.raises(ConfigurationError, match=told):
        concurrency.job(**options)(lambda: None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"ledgr": "x"}, "there is no option 'ledgr'. Did you mean 'ledger'"),
        ({"rerun": True}, "there is no option 'rerun'"),
        ({"url_prefix": "jobs"}, "give a path such as"),
        ({"url_prefix": "/"}, "give a path such as"),
        ({"owner": "ann"}, "give a function"),
        ({"max_queued": -1}, "give a whole number of at least 0, or None"),
        ({"processes": 0}, "give a whole number of at least 1"),
        ({"max_wait": 61}, "give seconds from 0 to 60"),
        ({"max_result": 0}, "give bytes, at least 1"),
        ("sqlite", "give a dict of options"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(options: object, told: str) -> None:
    """When the app starts."""
    app = Flask("shop")
    app.config["CONCURRENCY_JOBS"] = options
    with pytest.raises(ConfigurationError, match=told):
        Concurrency(app)


def test_functions_that_are_no_jobs_are_refused(concurrency: Concurrency) -> None:
    """A class, a generator, a lambda without a name, and a name that two functions have."""

    def rows() -> Iterator[int]:
        yield 1

    for wrong in (rows, dict, lambda: 1):
        with pytest.raises(ConfigurationError, match=r"job\("):
            concurrency.job(wrong)

    @concurrency.job
    def report() -> None: ...

    def other() -> None: ...

    with pytest.raises(ConfigurationError, match="Two functions are declared as job 'report'"):
        concurrency.job(name="report")(other)


def test_only_a_job_has_a_current_one(concurrency: Concurrency) -> None:
    """A function that is called directly gets an error, and may ask first."""
    assert concurrency.jobs.running() is None
    with pytest.raises(JobError, match="No job runs here"):
        _ = concurrency.jobs.current


def test_an_app_without_jobs_says_so() -> None:
    """The remedy is in the message."""
    concurrency = Concurrency()
    app = Flask("plain")
    concurrency.init_app(app)
    with app.app_context():
        assert concurrency.jobs.list() == []
    other = Flask("other")
    Concurrency(other)
    with other.app_context(), pytest.raises(ConfigurationError, match="'other' has no jobs"):
        concurrency.jobs.get("x")


def test_one_extension_serves_jobs_of_two_apps(tmp_path: Path) -> None:
    """Each app has its own ledger; what is declared before an app is served is there, too."""
    concurrency = Concurrency()

    @concurrency.job
    def report() -> None: ...

    apps = []
    for name in ("a", "b"):
        app = Flask(name, instance_path=str(tmp_path / name))
        app.testing = True
        concurrency.init_app(app)
        apps.append(app)
    with apps[0].app_context():
        report.submit()
        assert find_function("report") is report.function
    assert [ledger_of(app).counts().queued for app in apps] == [1, 0]
    for app in apps:
        ledger_of(app).close()


def test_a_worker_of_another_program_is_told(app: Flask, report: DeclaredJob[..., Any]) -> None:
    """A function that is missing where it is to run is named."""
    with app.app_context(), pytest.raises(LookupError, match="declares no job 'lost'"):
        find_function("lost")


def test_waiting_for_a_job(app: Flask, report: DeclaredJob[..., Any]) -> None:
    """In a thread and on a loop: it ends with the job, or when the time is up."""
    with app.app_context():
        job = report.submit(1)
        assert not job.wait_here(0.01).done
        assert not asyncio.run(job.wait(0.01)).done
        later = threading.Timer(0.02, finish, (app, Outcome("succeeded", result='{"value":1}')))
        later.start()
        assert asyncio.run(job.wait(20)).done
        later.join()
        assert asyncio.run(job.wait(20)).result() == 1
        assert job.wait_here(20).done


class TestAfterCommit:
    """``with_options(after_commit=db.session)``."""

    @pytest.fixture
    def db(self, app: Flask, tmp_path: Path) -> SQLAlchemy:
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'shop.db'}"
        return SQLAlchemy(app)

    def test_a_commit_submits(
        self, app: Flask, db: SQLAlchemy, report: DeclaredJob[..., Any]
    ) -> None:
        """Once, and not before; what is accepted before is refused."""
        with app.test_request_context():
            job = report.with_options(after_commit=db.session).submit(1)
            assert ledger_of(app).counts().queued == 0
            with pytest.raises(JobError, match=r"call accepted\(\) after commit\(\)"):
                job.accepted()
            db.session.commit()
            db.session.commit()
            assert ledger_of(app).counts().queued == 1
            assert job.accepted().status_code == 202
            assert job.refresh().status == "queued"

    def test_a_rollback_forgets(
        self, app: Flask, db: SQLAlchemy, report: DeclaredJob[..., Any]
    ) -> None:
        """Nothing is submitted, at this rollback or at a later commit."""
        with app.app_context():
            report.with_options(after_commit=db.session).submit(1)
            db.session.execute(db.text("SELECT 1"))
            db.session.rollback()
            db.session.commit()
            assert ledger_of(app).counts().queued == 0

    def test_a_savepoint_decides_for_what_is_inside(
        self, app: Flask, db: SQLAlchemy, report: DeclaredJob[..., Any]
    ) -> None:
        """Released, its jobs wait for the commit; rolled back, they are forgotten, others not."""
        with app.app_context():
            report.with_options(after_commit=db.session).submit(1)
            with db.session.begin_nested():
                report.with_options(after_commit=db.session).submit(2)
            assert ledger_of(app).counts().queued == 0
            lost = db.session.begin_nested()
            report.with_options(after_commit=db.session).submit(3)
            lost.rollback()
            db.session.commit()
            years = [job.call_arguments()[0] for job in _all(ledger_of(app))]
            assert sorted(years) == [[1], [2]]

    def test_what_cannot_be_kept_is_raised_by_the_commit(
        self,
        app: Flask,
        db: SQLAlchemy,
        report: DeclaredJob[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The view does not answer 202, since ``commit()`` raises."""

        def fail(*_: object) -> None:
            raise JobsUnavailable("the disk is full")

        with app.app_context():
            report.with_options(after_commit=db.session).submit(1)
            monkeypatch.setattr(ledger_of(app), "insert", fail)
            with pytest.raises(JobsUnavailable):
                db.session.commit()


def _all(ledger: Ledger) -> list[Any]:
    return ledger.find(Filter())


def test_a_configured_app_keeps_its_jobs_in_its_instance_folder(tmp_path: Path) -> None:
    """Not where it would be lost, and for this user alone."""
    app = Flask("shop", instance_path=str(tmp_path))
    concurrency = Concurrency(app)

    @concurrency.job
    def report() -> None: ...

    with app.app_context():
        report.submit()

    path = tmp_path / "concurrency" / "jobs.sqlite3"
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    found = jobs_of(app)
    assert isinstance(found, AppJobs)
    assert found.url_of_ledger(app) == f"sqlite:///{path}"
    found.ledger.close()


def test_a_place_that_cannot_keep_jobs_is_refused_when_the_app_starts(tmp_path: Path) -> None:
    """Not in a request: the file of another app, or what is in memory."""
    path = tmp_path / "jobs.sqlite3"

    def declare(name: str, ledger: str) -> None:
        app = Flask(name)
        app.config["CONCURRENCY_JOBS"] = {"ledger": ledger}
        concurrency = Concurrency(app)

        @concurrency.job
        def report() -> None: ...

        with app.app_context():
            report.submit()
        ledger_of(app).close()

    declare("shop", f"sqlite:///{path}")
    with pytest.raises(ConfigurationError, match="holds the jobs of the app 'shop'"):
        declare("market", f"sqlite:///{path}")
    if filesystem_of(Path("/dev/shm")) == "tmpfs":
        with pytest.raises(ConfigurationError, match="in memory"):
            declare("shop", "sqlite:////dev/shm/jobs.sqlite3")
    with pytest.raises(ConfigurationError, match="names no place for jobs"):
        declare("shop", "mysql://x")
