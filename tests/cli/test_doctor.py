"""``flask concurrency doctor``: deployments with one fault each, and one without."""

from __future__ import annotations

import ast
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.conftest import Project, Run
from tests.stores.conftest import RedisServer

from flask_concurrency.cli.doctor import checks, command, running
from flask_concurrency.cli.doctor.facts import PROXIES
from flask_concurrency.cli.doctor.server_command import read_server
from flask_concurrency.flask_app.work.status_file import ExecutorStatus
from flask_concurrency.vocabulary.errors import ConfigurationError

HEAD = """
    from flask import Flask
    from flask_concurrency import Concurrency, InFlight
    app = Flask(__name__)
"""
SOUND = """
    concurrency = Concurrency(app, default_limits="100/day; 10/hour")

    @app.get("/")
    @concurrency.limit("5/minute; 8 in flight")
    @concurrency.deadline(20)
    def index():
        return "Hello, World!"
"""


KEEPS_LONG = "gunicorn -w 2 --threads 16 --keep-alive 95 shop:app"


@dataclass(frozen=True)
class Deployment:
    """An app, how it is served, and where.

    :ivar fault: The one check that finds something.
    :ivar told: What its message and remedy name.
    :ivar processes: What a running server's processes have published.
    """

    fault: str
    source: str
    told: tuple[str, ...]
    server: str | None = "gunicorn -w 2 --threads 16 shop:app"
    files: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    severity: str = "error"
    processes: tuple[ExecutorStatus, ...] = ()


def process(number: int, **refused: int) -> ExecutorStatus:
    """What a process says, and how often it refused which address by ``route:5/minute``."""
    times = {
        key.replace("_", "."): (often, 1_000_000.0, "route:5/minute")
        for key, often in refused.items()
    }
    return ExecutorStatus(number, 1_000_000.0, {}, times)


JOBS = """
    import os
    ledger = f"sqlite:///{os.path.dirname(__file__)}/jobs.sqlite3"
    app.config["CONCURRENCY_JOBS"] = {"ledger": ledger}
    app.config["CONCURRENCY_STORE"] = "redis://127.0.0.1:1/0"
    concurrency = Concurrency(app)

    @concurrency.job
    def report():
        pass
"""

DEPLOYMENTS = [
    Deployment(
        "jobs-of-one-host",
        JOBS,
        ("Heroku runs an app on machines that come and go", '{"ledger": "redis://..."}'),
        server=KEEPS_LONG,
        environment={"DYNO": "web.1"},
    ),
    Deployment(
        "jobs-without-worker",
        JOBS
        + """
    with app.app_context():
        report.submit()
        concurrency.jobs.get(report.submit().id).cancel()
        app.extensions["concurrency_jobs"].ledger.close()
""",
        ("1 job waits, and no worker is alive", "concurrency worker"),
        severity="warning",
    ),
    Deployment(
        "jobs-out-of-reach",
        JOBS.replace('"ledger": ledger', '"ledger": "redis://127.0.0.1:1/0"'),
        ("Jobs cannot be read or written", "503"),
        severity="warning",
    ),
    Deployment(
        "jobs-on-a-server-that-forgets",
        JOBS.replace('"ledger": ledger', '"ledger": os.environ["JOBS_OF_TEST"]'),
        ("keeps nothing on its disk", "appendonly yes"),
    ),
    Deployment(
        "threads-for-limits",
        SOUND,
        ("lets 8 requests in", "runs 8 at once", "--threads"),
        server="gunicorn -w 2 --threads 4 shop:app",
    ),
    Deployment(
        "queue-out-of-sight",
        SOUND.replace(
            'concurrency.limit("5/minute; 8 in flight")', 'concurrency.limit("adaptive")'
        ),
        ("'route:adaptive'", "64 threads of granian", "--threads 16"),
        server="granian --interface wsgi --workers 2 --blocking-threads 64 shop:app",
        severity="warning",
    ),
    Deployment(
        "timeout-before-deadline",
        SOUND.replace("; 8 in flight", "").replace("deadline(20)", "deadline(45)"),
        ("--timeout is 30 s", "may take 45 s", "--timeout 50"),
        server="gunicorn -w 4 shop:app",
    ),
    Deployment(
        "proxy-not-trusted",
        'app.config["CONCURRENCY_STORE"] = "redis://127.0.0.1:1/0"\n' + SOUND.lstrip("\n"),
        ("runs on Heroku", "'route:5/minute'", "x_for=1"),
        server=KEEPS_LONG,
        environment={"DYNO": "web.1"},
    ),
    Deployment(
        "proxy-trusted-too-far",
        "from werkzeug.middleware.proxy_fix import ProxyFix\n"
        "    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=3)\n" + SOUND,
        ("trusts 3 proxies", "x_for=1"),
        severity="warning",
    ),
    Deployment(
        "proxy-trusted-too-far",
        SOUND,
        ("forwarded_allow_ips='*'",),
        server="gunicorn -w 2 --threads 16 --forwarded-allow-ips='*' shop:app",
        severity="warning",
    ),
    Deployment(
        "drain-missing",
        SOUND
        + """
    @app.route("/chat", websocket=True)
    @concurrency.websocket
    def chat(ws):
        pass
""",
        ("/chat keeps connections open", "post_worker_init", "watch_signals()"),
    ),
    Deployment(
        "drain-too-short",
        SOUND,
        ("ends 10 s after SIGTERM", "go on for 30 s", "--graceful-timeout 35"),
        server="gunicorn -w 2 --threads 16 --graceful-timeout 10 shop:app",
        severity="warning",
    ),
    Deployment(
        "store-of-one-process",
        'app.config["CONCURRENCY_STORE"] = "memory://"\n' + SOUND.lstrip("\n"),
        ("starts 3 workers", "3 times", "host://"),
        server="gunicorn -w 3 --threads 16 shop:app",
    ),
    Deployment(
        "store-of-one-host",
        "from werkzeug.middleware.proxy_fix import ProxyFix\n"
        "    app.wsgi_app = ProxyFix(app.wsgi_app)\n" + SOUND,
        ("Kubernetes may run the app many times", "redis://"),
        server=KEEPS_LONG,
        environment={"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        severity="warning",
    ),
    Deployment(
        "store-fails-open",
        'app.config["CONCURRENCY_ON_STORE_FAILURE"] = "admit"\n' + SOUND.lstrip("\n"),
        ('is "admit"', '"local"'),
        severity="warning",
    ),
    Deployment(
        "threads-at-import",
        """
    import sys, threading
    threading.Thread(target=sys.modules["__stop__"].wait, name="scheduler", daemon=True).start()
"""
        + SOUND,
        ("starts threads: 'scheduler'", "not at import"),
        severity="warning",
    ),
    Deployment(
        "left-over-keys",
        'app.config["RATELIMIT_STORAGE_URI"] = "redis://"\n' + SOUND.lstrip("\n"),
        ("RATELIMIT_STORAGE_URI", "Flask-Limiter", "CONCURRENCY_DEFAULT_LIMITS"),
        severity="warning",
    ),
    Deployment(
        "never-refuses",
        SOUND.replace("5/minute; 8 in flight", "1000/hour").replace("100/day; ", ""),
        ("'route:1000/hour'", "'default:10/hour'", "replace=True"),
        severity="warning",
    ),
    Deployment(
        "stream-holds-worker",
        """
    from flask_concurrency import watch_signals
    concurrency = Concurrency(app, default_limits="9/hour")

    @app.route("/chat", websocket=True)
    @concurrency.websocket
    def chat(ws):
        pass
""",
        ("/chat keeps a connection open", "4 clients occupy all workers", "gthread"),
        server="gunicorn -w 4 -c conf.py shop:app",
        files={"conf.py": "def post_worker_init(worker):\n    from x import watch_signals\n"},
    ),
    Deployment(
        "keep-alive-too-short",
        "from werkzeug.middleware.proxy_fix import ProxyFix\n"
        "    app.wsgi_app = ProxyFix(app.wsgi_app)\n"
        '    app.config["CONCURRENCY_STORE"] = "redis://127.0.0.1:1/0"\n' + SOUND,
        ("idle for 2 s", "Heroku keeps one for 90 s", "--keep-alive 95"),
        environment={"DYNO": "web.1"},
        severity="warning",
    ),
    Deployment(
        "another-server-runs",
        SOUND,
        ("3 processes of this app run", "--server starts 2"),
        processes=(process(1), process(2), process(3)),
        severity="warning",
    ),
    Deployment(
        "refused-at-a-proxy",
        SOUND,
        ("All of the last 57 refusals were of 10.0.0.3", "ProxyFix(app.wsgi_app, x_for=1)"),
        processes=(process(1, **{"10_0_0_3": 40}), process(2, **{"10_0_0_3": 17})),
    ),
    Deployment(
        "testing-in-production",
        "app.testing = True\n" + SOUND.lstrip("\n"),
        ("TESTING is True", "TESTING = False"),
        server="gunicorn -w 1 --threads 16 shop:app",
    ),
]


@pytest.fixture(autouse=True)
def _threads_of_an_app_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    stop: Any = threading.Event()
    monkeypatch.setitem(sys.modules, "__stop__", stop)
    yield
    stop.set()


@pytest.fixture(autouse=True)
def _no_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*PROXIES, "WEB_CONCURRENCY", "GUNICORN_CMD_ARGS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def server_of_jobs() -> Iterator[RedisServer]:
    """A server that keeps nothing on its disk."""
    with RedisServer() as server:
        yield server


def written(source: str) -> str:
    """An app's source: lines that were not indented stand after the head."""
    lines = source.splitlines()
    indented = [line if line.startswith("    ") or not line else f"    {line}" for line in lines]
    return HEAD + "\n".join(indented) + "\n"


def findings(result: Any) -> list[dict[str, str]]:
    """What ``--json`` says."""
    found: list[dict[str, str]] = json.loads(result.stdout)["findings"]
    return found


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: f"{d.fault}")
def test_one_fault_is_one_finding(
    deployment: Deployment,
    project: Project,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    server_of_jobs: RedisServer,
) -> None:
    """It names the values that are wrong and the line that mends it, and finds nothing else."""
    monkeypatch.setenv("JOBS_OF_TEST", server_of_jobs.url)
    for variable, value in deployment.environment.items():
        monkeypatch.setenv(variable, value)
    path = project("shop", written(deployment.source))
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(command, "read_processes", lambda _app, _state: [*deployment.processes])
    for name, text in deployment.files.items():
        (path.parent / name).write_text(text)
    server = [] if deployment.server is None else ["--server", deployment.server]
    result = run("doctor", *server, "--json", app=path)
    (found,) = findings(result)
    assert found["check"] == deployment.fault
    assert found["severity"] == deployment.severity
    text = " ".join((found["what"], found["why"], found["remedy"]))
    for word in deployment.told:
        assert word in text
    assert result.exit_code == (1 if deployment.severity == "error" else 0)


def test_a_sound_deployment_has_no_finding(project: Project, run: Run) -> None:
    """And its exit status is that of success."""
    path = project("shop", written(SOUND))
    result = run("doctor", "--server", "gunicorn -w 2 --threads 16 shop:app", app=path)
    assert result.exit_code == 0, result.output
    assert "gunicorn gthread, 2 workers, each with 16 requests at once" in result.stdout
    assert "Nothing is wrong" in result.stdout


def test_what_is_ignored_is_left_out(project: Project, run: Run) -> None:
    """A team may know better."""
    path = project("shop", written(SOUND))
    server = "gunicorn -w 2 --threads 4 shop:app"
    assert run("doctor", "--server", server, app=path).exit_code == 1
    ignored = run("doctor", "--server", server, "--ignore", "threads-for-limits", app=path)
    assert ignored.exit_code == 0


def test_every_check_is_tried() -> None:
    """A check that no deployment fails is a check that may find nothing."""
    sources = [Path(str(module.__file__)).read_text() for module in (checks, running)]
    trees = map(ast.parse, sources)
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {
        ast.literal_eval(call.args[0])
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "Finding"
    }
    assert names == {deployment.fault for deployment in DEPLOYMENTS}


def test_refusals_of_several_clients_are_not_of_a_proxy(
    project: Project, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are a few, nor those of an address of the world."""
    path = project("shop", written(SOUND))
    for refused in ({"10_0_0_3": 40, "10_0_0_4": 1}, {"10_0_0_3": 19}, {"8_8_8_8": 500}):
        said = [process(1, **refused)]
        monkeypatch.setattr(command, "read_processes", lambda _app, _state, said=said: said)
        told = run("doctor", "--server", "gunicorn -w 2 --threads 16 shop:app", "--json", app=path)
        assert findings(told) == []


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("gunicorn -k gthread shop:app", 2),
        ("gunicorn -k gthread --keep-alive 75 shop:app", 75),
        ("uvicorn shop:asgi", 5),
        ("uvicorn --timeout-keep-alive=65 shop:asgi", 65),
        ("hypercorn --keep-alive 9 shop:asgi", 9),
        ("waitress-serve shop:app", 120),
        ("granian shop:app", None),
    ],
)
def test_how_long_a_server_keeps_an_idle_connection_is_read(
    typed: str, seconds: float | None, tmp_path: Path
) -> None:
    """Its option, or what it comes with."""
    found = read_server(typed, directory=tmp_path, environment={})
    assert found is not None
    assert found.keep_alive == seconds


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("gunicorn -w 4 shop:app", ("gunicorn", 4, 1, "sync")),
        ("gunicorn -w4 --threads=8 shop:app", ("gunicorn", 4, 8, "gthread")),
        ("gunicorn -k gevent shop:app", ("gunicorn", 1, None, "gevent")),
        ("/opt/venv/bin/gunicorn --workers 3 shop:app", ("gunicorn", 3, 1, "sync")),
        ("PORT=80 exec waitress-serve --threads=6 shop:app", ("waitress", 1, 6, "")),
        ("uvicorn --workers 2 shop:asgi", ("uvicorn", 2, None, "")),
        ("flask --app shop concurrency serve -w 2 -t 12", ("serve", 2, 12, "")),
    ],
)
def test_a_command_is_read(
    command: str, expected: tuple[str, int, int | None, str], tmp_path: Path
) -> None:
    """As it is typed: short and long options, with their values in the same word or the next."""
    found = read_server(command, directory=tmp_path, environment={})
    assert found is not None
    assert (found.server, found.workers, found.threads, found.worker_class) == expected


def test_files_of_a_project_are_read(tmp_path: Path) -> None:
    """A command line wins over the environment, and that over the file, as for gunicorn."""
    (tmp_path / "gunicorn.conf.py").write_text("workers = 2\nthreads = 4\ntimeout = 60\n")
    found = read_server(None, directory=tmp_path, environment={"GUNICORN_CMD_ARGS": "--threads 6"})
    assert found is not None
    assert (found.workers, found.threads, found.timeout) == (2, 6, 60.0)
    (tmp_path / "Procfile").write_text("release: make\nweb: gunicorn -w 5 shop:app\n")
    again = read_server(None, directory=tmp_path, environment={})
    assert again is not None
    assert (again.workers, again.threads, again.source) == (5, 4, "Procfile")


def test_nothing_is_known_where_nothing_is_said(tmp_path: Path) -> None:
    """No server is guessed."""
    assert read_server(None, directory=tmp_path, environment={}) is None


@pytest.mark.parametrize("command", ["caddy run", "gunicorn '", ""])
def test_what_names_no_server_is_refused(command: str, tmp_path: Path) -> None:
    """The message says which are known."""
    with pytest.raises(ConfigurationError, match=r"names no server|cannot be read"):
        read_server(command, directory=tmp_path, environment={})


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No command is a traceback."""
    with suppress(ConfigurationError):
        read_server(f"gunicorn {text}", directory=Path("/nowhere"), environment={})
