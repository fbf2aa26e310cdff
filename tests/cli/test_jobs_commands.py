"""``flask concurrency jobs`` and ``worker``: what they print, what they refuse, what they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from tests.cli.conftest import FLASK, Project, Run, lives, until

from flask_concurrency import Concurrency
from flask_concurrency.cli.job_lines import job_rows
from flask_concurrency.cli.job_worker_process import JobWorkerProcess
from flask_concurrency.flask_app.app_snapshot import JobsSnapshot
from flask_concurrency.flask_app.jobs import app_jobs
from flask_concurrency.flask_app.jobs.app_jobs import jobs_of
from flask_concurrency.jobs.ledger import Ledger, Outcome, WorkerInfo
from flask_concurrency.jobs.opening import open_ledger
from flask_concurrency.jobs.record import new_record
from flask_concurrency.telemetry.load import JobLoad

SHOP = """
    import os, time
    from flask import Flask, request
    from flask_concurrency import Concurrency

    HERE = os.path.dirname(__file__)
    app = Flask(__name__)
    app.config["CONCURRENCY_JOBS"] = {"ledger": f"sqlite:///{HERE}/jobs.sqlite3", "processes": 1}
    concurrency = Concurrency(app)

    @concurrency.job
    def report(year, fails=False):
        if fails:
            raise ValueError("no rows for that year")
        return {"rows": year}

    @concurrency.job(queue="mails")
    def mail(to):
        return to

    @concurrency.job
    def hold():
        while not os.path.exists(f"{HERE}/gate"):
            time.sleep(0.005)

    @app.post("/reports")
    def create():
        return report.submit(**request.get_json()).accepted()

    @app.post("/holds")
    def create_hold():
        return hold.submit().accepted()

    @app.get("/pid")
    def pid():
        return str(os.getpid())
"""

NO_JOBS = """
    from flask import Flask
    from flask_concurrency import Concurrency

    app = Flask(__name__)
    Concurrency(app)
"""


@pytest.fixture
def ledger(project: Project, run: Run) -> Ledger:
    """The ledger of the shop, which has been loaded."""
    shop = project("shop", SHOP)
    return open_ledger(f"sqlite:///{shop.parent}/jobs.sqlite3", app="shop", volatile=True)


def submitted(ledger: Ledger, *args: Any, owner: str = "", name: str = "report") -> str:
    """Submit a job as the app would."""
    record = new_record(name, args, {}, max_arguments=10_000, owner=owner)
    return ledger.insert(record)[0].id


def finished(ledger: Ledger, outcome: Outcome) -> None:
    """Let a worker run the next job."""
    if not ledger.workers():
        ledger.join(WorkerInfo("w1", "here", 1, ("report",), 1, 0.0))
    (record,) = ledger.claim("w1", ["report"], 1)
    ledger.end(record.id, record.state.attempt, outcome)


def test_jobs_are_listed(ledger: Ledger, project: Project, run: Run) -> None:
    """Newest first, with state, owner and error, beside how many wait and who runs them."""
    shop = project("shop", SHOP)
    first = submitted(ledger, 1, owner="ann")
    second = submitted(ledger, 2)
    finished(ledger, Outcome("refused", error={"type": "x", "title": "ValueError", "detail": "no"}))
    ledger.leave("w1")
    listed = run("jobs", "list", app=shop)
    lines = listed.output.splitlines()
    assert lines[0].startswith("1 queued, the longest waits for 0 s; 0 running; 0 workers alive")
    assert lines[1] == "No worker is alive: start one with 'flask concurrency worker'."
    assert lines[2].startswith(f"{second}  queued")
    assert lines[3].startswith(f"{first}  failed")
    assert lines[3].endswith("report, of ann, ValueError")
    assert first not in run("jobs", "list", "--status", "queued", app=shop).output
    assert second not in run("jobs", "list", "--owner", "ann", app=shop).output
    told = json.loads(run("jobs", "list", "--json", app=shop).output)
    assert told["counts"]["queued"] == 1
    assert [job["id"] for job in told["jobs"]] == [second, first]


def test_an_engine_has_workers_of_its_own(project: Project, run: Run) -> None:
    """None are known here before they have run a job, and none is asked for."""
    source = SHOP.replace(
        'app.config["CONCURRENCY_JOBS"] = {',
        'app.config["CONCURRENCY_JOBS"] = {"engine": lambda app, jobs: app, ',
    )
    assert source != SHOP
    shop = project("shop", source)
    with closing(
        open_ledger(f"sqlite:///{shop.parent}/jobs.sqlite3", app="shop", volatile=True)
    ) as ledger:
        submitted(ledger, 1)
    listed = run("jobs", "list", app=shop)
    assert "1 queued" in listed.output
    assert "No worker is alive" not in listed.output
    assert "alive" not in run("status", app=shop).output


def test_a_job_is_shown(ledger: Ledger, project: Project, run: Run) -> None:
    """Arguments, attempts, error and where it was raised."""
    shop = project("shop", SHOP)
    id = submitted(ledger, 2026)
    error = {"type": "error", "title": "ValueError", "detail": "no rows", "traceback": "File x"}
    finished(ledger, Outcome("error", error=error))
    shown = run("jobs", "show", id, app=shop).output
    for part in (f"report {id}", "failed", "[[2026],{}]", "error after 0 s", "ValueError: no rows"):
        assert part in shown
    assert shown.rstrip().endswith("File x")
    assert json.loads(run("jobs", "show", id, "--json", app=shop).output)["status"] == "failed"


def test_a_running_job_is_shown_with_its_worker(ledger: Ledger, project: Project, run: Run) -> None:
    """The process that a signal would end, and where it runs; none once the job has ended."""
    shop = project("shop", SHOP)
    id = submitted(ledger, 2026)
    ledger.join(WorkerInfo("w1", "here", 4711, ("report",), 1, 0.0))
    ledger.claim("w1", ["report"], 1)
    shown = run("jobs", "show", id, app=shop).output
    assert "process 4711 on here" in " ".join(shown.split())
    ledger.end(id, 1, Outcome("succeeded", result='{"value":1}'))
    assert "4711" not in run("jobs", "show", id, app=shop).output
    ledger.leave("w1")


def test_a_job_is_cancelled_and_queued_again(ledger: Ledger, project: Project, run: Run) -> None:
    """Each command says what it did, and refuses what it cannot do."""
    shop = project("shop", SHOP)
    id = submitted(ledger, 1)
    assert run("jobs", "cancel", id, app=shop).output == f"{id}: canceled.\n"
    again = run("jobs", "retry", id, app=shop)
    assert again.output == f"{id}: queued, attempt 1 comes next.\n"
    refused = run("jobs", "retry", id, app=shop)
    assert refused.exit_code == 1
    assert "is queued: only one that failed or was cancelled" in refused.output
    finished(ledger, Outcome("succeeded", result='{"value":1}'))
    late = run("jobs", "cancel", id, app=shop)
    assert late.exit_code == 1
    assert "has succeeded already" in late.output


def test_status_tells_of_jobs(ledger: Ledger, project: Project, run: Run) -> None:
    """How many wait, run, and are there to run them, beside limits and executors."""
    shop = project("shop", SHOP)
    submitted(ledger, 1)
    submitted(ledger, 2)
    ledger.join(WorkerInfo("w1", "here", 1, ("report",), 1, 0.0))
    ledger.claim("w1", ["report"], 1)
    told = run("status", app=shop).output
    assert "Jobs:\n  queued   1" in told
    assert "running  1, 1 worker alive" in told
    jobs = json.loads(run("status", "--json", app=shop).output)["jobs"]
    assert (jobs["queued"], jobs["running"], jobs["workers"]) == (1, 1, 1)
    ledger.leave("w1")


def test_job_rows_say_what_became_of_jobs() -> None:
    """By name; and that they cannot be read, or are an engine's to run."""
    rows = dict(
        job_rows(
            JobsSnapshot(2, 1, 90.0, None),
            [JobLoad("report", {"failed": 1, "submitted": 1_200})],
        )
    )
    assert rows["queued"] == "2, the oldest for 90 s"
    assert rows["running"] == "1"
    assert rows["report"] == "1,200 submitted, 1 failed"
    ((_, said),) = job_rows(JobsSnapshot(available=False), [])
    assert said == "can be neither read nor accepted"


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
def test_an_unknown_job_is_refused(project: Project, run: Run, command: str) -> None:
    """One line, no traceback."""
    result = run("jobs", command, "none", app=project("shop", SHOP))
    assert (result.exit_code, result.output) == (
        1,
        "Error: There is no job 'none', or no longer.\n",
    )


def test_the_routes_of_jobs_are_printed_for_openapi(project: Project, run: Run) -> None:
    """JSON that a file can be made of, as ``concurrency.jobs.openapi()`` gives it."""
    printed = json.loads(run("jobs", "openapi", app=project("shop", SHOP)).output)
    assert set(printed) == {"paths", "components"}
    assert "delete" in printed["paths"]["/jobs/{id}"]


def test_purging(ledger: Ledger, project: Project, run: Run) -> None:
    """What is not expired stays."""
    submitted(ledger, 1)
    result = run("jobs", "purge", app=project("shop", SHOP))
    assert result.output == "0 removed.\n"
    assert ledger.counts().queued == 1


@pytest.mark.parametrize("arguments", [("worker",), ("jobs", "list")])
def test_an_app_without_jobs_is_told_how(
    project: Project, run: Run, arguments: tuple[str, ...]
) -> None:
    """The remedy is one decorator away."""
    result = run(*arguments, app=project("plain", NO_JOBS))
    assert result.exit_code == 1
    assert "'plain' has no jobs: decorate a function with @concurrency.job." in result.output


def test_a_queue_that_no_job_has_is_refused(project: Project, run: Run) -> None:
    """A worker that waits for a misspelt queue would wait for ever."""
    result = run("worker", "--queues", "mails, mial", app=project("shop", SHOP))
    assert result.exit_code == 2
    assert "No job is of the queue 'mial'. There are: default, mails." in result.output


def test_the_file_of_another_app_ends_a_worker(project: Project, run: Run, ledger: Ledger) -> None:
    """With the remedy, and before any job is claimed."""
    submitted(ledger, 1)
    other = SHOP.replace("Flask(__name__)", "Flask('market')")
    result = run("worker", "--burst", app=project("shop", other))
    assert result.exit_code == 1
    assert "holds the jobs of the app 'shop', and this one is 'market'" in result.output


@pytest.mark.slow
def test_a_burst_runs_what_is_due(project: Project, ledger: Ledger) -> None:
    """The command runs the app's functions, each in a process that imports the app."""
    shop = project("shop", SHOP)
    ids = [submitted(ledger, 3), submitted(ledger, 4, True), submitted(ledger, "a", name="mail")]
    done = subprocess.run(
        [FLASK, "--app", shop, "concurrency", "worker", "--burst", "--queues", "default"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Running the jobs of 'shop': hold, report." in done.stdout
    records = [ledger.get(id) for id in ids]
    assert [record.state.status for record in records if record] == [
        "succeeded",
        "failed",
        "queued",
    ]
    assert records[0] is not None
    assert records[0].result == '{"value":{"rows":3}}'
    assert records[1] is not None
    assert records[1].error is not None
    assert "no rows for that year" in records[1].error["traceback"]


@pytest.mark.slow
def test_a_worker_ends_with_its_parent(project: Project, ledger: Ledger) -> None:
    """A server that was killed cannot notify its worker, which ends all the same."""
    shop = project("shop", SHOP)
    script = (
        "import subprocess, os, sys, time\n"
        f"p = subprocess.Popen([{str(FLASK)!r}, '--app', {str(shop)!r}, 'concurrency', 'worker',"
        " '--parent', str(os.getpid())], stdout=subprocess.PIPE)\n"
        "p.stdout.readline()\nprint(p.pid, flush=True)\ntime.sleep(100)"
    )
    parent = subprocess.Popen(
        [FLASK.with_name("python"), "-c", script], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not lives(worker))


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again(project: Project, ledger: Ledger) -> None:
    """Beside a server there always is one, until the server ends."""
    kept = JobWorkerProcess(str(project("shop", SHOP)), 5.0)
    kept.start()
    try:
        until(lambda: len(ledger.workers()) == 1)
        (first,) = ledger.workers()
        os.kill(first.process, signal.SIGKILL)
        until(lambda: [w.process for w in ledger.workers()] not in ([], [first.process]))
    finally:
        kept.end()
    assert ledger.workers() == []


@pytest.mark.slow
def test_sighup_renews_the_worker(project: Project, ledger: Ledger, flask_serve: Any) -> None:
    """A deploy replaces it with one that has the new code; what the old one runs is finished."""
    shop = project("shop", SHOP)
    served = flask_serve("--workers", "1", app="shop", directory=shop.parent)
    held = _post(served, "/holds", {})
    until(lambda: json.loads(served.get(held).text)["status"] == "running")
    (first,) = ledger.workers()
    project("shop", SHOP.replace('return {"rows": year}', 'return {"rows": -year}'))
    served.process.send_signal(signal.SIGHUP)
    until(lambda: {w.process for w in ledger.workers()} - {first.process} != set())
    served.until_new_worker()
    served.until_listening()
    address = _post(served, "/reports", {"year": 5})
    until(lambda: json.loads(served.get(address).text)["done"])
    assert json.loads(served.get(f"{address}/result").text) == {"rows": -5}
    (shop.parent / "gate").touch()
    until(lambda: json.loads(served.get(held).text)["done"])
    assert len(json.loads(served.get(held).text)["attempts"]) == 1
    until(lambda: first.process not in [w.process for w in ledger.workers()])
    served.process.send_signal(signal.SIGTERM)
    assert served.ends() == 0


@pytest.mark.slow
def test_serving_runs_the_jobs(project: Project, ledger: Ledger, flask_serve: Any) -> None:
    """One command suffices: the server's clients get their results, through a killed worker."""
    shop = project("shop", SHOP)
    served = flask_serve("--workers", "1", app="shop", directory=shop.parent)
    assert "One worker beside the server runs them." in served.said
    address = _post(served, "/reports", {"year": 5})
    until(lambda: json.loads(served.get(address).text)["done"])
    assert json.loads(served.get(f"{address}/result").text) == {"rows": 5}
    held = _post(served, "/holds", {})
    until(lambda: json.loads(served.get(held).text)["status"] == "running")
    (worker,) = ledger.workers()
    os.kill(worker.process, signal.SIGKILL)
    (shop.parent / "gate").touch()
    until(lambda: json.loads(served.get(held).text)["done"])
    told = json.loads(served.get(held).text)
    assert told["status"] == "succeeded"
    assert [attempt["how"] for attempt in told["attempts"]] == ["interrupted", "succeeded"]
    served.process.send_signal(signal.SIGTERM)
    assert served.ends() == 0
    until(lambda: ledger.workers() == [])


@pytest.mark.slow
def test_a_client_that_repeats_after_a_killed_server_has_one_job(
    project: Project, ledger: Ledger
) -> None:
    """2: the process is killed between commit and answer; the same key finds the same job."""
    program = """
        import os, sys, shop
        from flask_concurrency.flask_app.jobs.job import Job

        if sys.argv[1] == "dies":
            Job.accepted = lambda job: os.kill(os.getpid(), 9)
        for number in range(int(sys.argv[2]), int(sys.argv[3])):
            fields = {"Idempotency-Key": f"key-{number}"}
            answer = shop.app.test_client().post("/reports", json={"year": number}, headers=fields)
            print(answer.status_code, answer.headers.get("Idempotency-Replayed"))
    """
    here = project("shop", SHOP).parent
    project("client", program)

    def run_client(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(FLASK.with_name("python")), "client.py", *arguments]
        return subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=60)

    for number in range(3):
        assert run_client("dies", str(number), "3").returncode == -signal.SIGKILL
        assert ledger.counts().queued == number + 1
    again = run_client("lives", "0", "4")
    assert again.stdout.splitlines() == ["202 true"] * 3 + ["202 None"]
    assert ledger.counts().queued == 4


def _post(served: Any, path: str, body: object, headers: dict[str, str] | None = None) -> str:
    with closing(HTTPConnection("127.0.0.1", served.port, timeout=30)) as connection:
        fields = {"Content-Type": "application/json", **(headers or {})}
        connection.request("POST", path, json.dumps(body), fields)
        response = connection.getresponse()
        response.read()
        assert response.status == 202
        return str(response.headers["Location"])


def test_a_missing_worker_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is accepted is kept; that nothing runs it is in the log, and not at each submit."""
    logged: list[str] = []
    monkeypatch.setattr(app_jobs.logger, "warning", lambda text, *_: logged.append(text))
    app = Flask("shop", instance_path=str(tmp_path))
    concurrency = Concurrency(app)

    @concurrency.job
    def report() -> None:
        raise AssertionError

    with app.app_context():
        for _ in range(3):
            report.submit()
    found = [text for text in logged if "no worker is running it" in text]
    assert len(found) == 1
    jobs = jobs_of(app)
    assert jobs is not None
    jobs.ledger.close()
    assert (tmp_path / "concurrency" / "jobs.sqlite3").exists()
