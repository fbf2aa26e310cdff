"""``flask concurrency serve`` checks everything first and says what it is about to serve."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from flask.cli import ScriptInfo

from flask_concurrency.cli.server_options import ServerOptions
from flask_concurrency.jobs.opening import open_ledger
from flask_concurrency.jobs.record import new_record

Project = Callable[..., Path]
Run = Callable[..., Result]


def words(result: Result) -> str:
    """The output on one line."""
    return " ".join(result.output.split())


def gunicorn(result: Result) -> list[str]:
    """The gunicorn command of an announcement, as a shell takes it apart."""
    return shlex.split(result.output.splitlines()[-1])


def test_it_says_what_is_served_and_limited(
    project: Project, run: Run, started: list[ServerOptions]
) -> None:
    """Address, processes, limits of app, defaults and routes, and where counts live."""
    result = run("serve", "--port", "0", "--workers", "1", "--threads", "4", app=project("hello"))
    assert result.exit_code == 0
    (options,) = started
    said = words(result)
    assert f"Serving 'hello' on http://127.0.0.1:{options.port}" in said
    assert "1 process of 4 threads" in said
    assert "requests in flight then get 30 s" in said
    assert "Limits (1 of 2 routes)" in said
    assert "app none" in said
    assert "default 100/day; 10/hour (for each route by itself)" in said
    assert "GET / default:100/day, default:10/hour, route:5/minute" in said
    assert "Counts live in host://." in said


def test_the_options_reach_the_server(
    project: Project, run: Run, started: list[ServerOptions]
) -> None:
    """As they were given, with the address resolved."""
    app = project("hello")
    given = ["--workers", "3", "--threads", "5", "--graceful-timeout", "7"]
    run("serve", "--host", "localhost", "--port", "0", *given, app=app)
    (options,) = started
    assert options == ServerOptions("127.0.0.1", options.port, 3, 5, 7, str(app))
    assert options.port > 0


def test_workers_are_as_many_as_cpus_may_be_used(
    project: Project,
    run: Run,
    started: list[ServerOptions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not as many as the machine has."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 6}, raising=False)
    run("serve", "--port", "0", app=project("hello"))
    assert started[0].workers == 3


def test_counts_that_are_not_shared_are_said_to_be_so(
    project: Project, run: Run, started: list[ServerOptions]
) -> None:
    """With the factor and the remedies."""
    source = """
        import flask, flask_concurrency
        app = flask.Flask("apart")
        flask_concurrency.Concurrency(app, default_limits="9/day", store="memory://")
    """
    app = project("apart", source)
    said = words(run("serve", "--port", "0", "--workers", "4", app=app))
    assert "Counts live in memory://: each of the 4 processes counts by itself" in said
    assert "up to 4 times as much" in said
    assert "such as host://, or --workers 1" in said
    alone = words(run("serve", "--port", "0", "--workers", "1", app=app))
    assert "Counts live in memory://." in alone


def test_many_routes_are_not_all_listed(
    project: Project, run: Run, started: list[ServerOptions]
) -> None:
    """The rest is a number and the command that lists them."""
    source = """
        from flask import Flask
        from flask_concurrency import Concurrency

        app = Flask(__name__)
        Concurrency(app, default_limits="9/day")
        for number in range(20):
            app.add_url_rule(f"/{number}", str(number), lambda: "")
    """
    said = words(run("serve", "--port", "0", app=project("many", source)))
    assert "Limits (20 of 21 routes)" in said
    assert "and 8 more flask concurrency explain" in said


def test_an_app_without_the_extension_is_served_with_a_polite_word(
    project: Project, run: Run, started: list[ServerOptions]
) -> None:
    """It may want a good server and no limits."""
    app = project("plain", "import flask\napp = flask.Flask('plain')")
    result = run("serve", "--port", "0", app=app)
    assert result.exit_code == 0
    assert "'plain' has no limits" in words(result)
    assert len(started) == 1


def test_switched_off_limits_are_said_to_be_off(
    project: Project, run: Run, started: list[ServerOptions]
) -> None:
    """Instead of listing what does not apply."""
    source = """
        import flask, flask_concurrency
        app = flask.Flask("off")
        app.config["CONCURRENCY_ENABLED"] = False
        flask_concurrency.Concurrency(app, default_limits="9/day")
    """
    said = run("serve", "--port", "0", app=project("off", source)).output
    assert "CONCURRENCY_ENABLED is False" in said
    assert "9/day" not in said


def test_a_port_in_use_is_refused_before_anything_starts(
    project: Project, run: Run, started: list[ServerOptions]
) -> None:
    """Also where the other program would share it: two servers must not split the requests."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("serve", "--port", str(port), app=project("hello"))
    assert result.exit_code == 1
    assert f"Port {port} of 127.0.0.1 is in use by another program" in words(result)
    assert "--port 0" in words(result)
    assert started == []


def test_a_privileged_port_is_refused_with_the_remedy(
    project: Project,
    run: Run,
    started: list[ServerOptions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tests may run as root, who has the privilege, so the kernel's answer is simulated."""

    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("flask_concurrency.cli.listening.socket.socket.bind", refuse)
    result = run("serve", "--port", "80", app=project("hello"))
    assert result.exit_code == 1
    assert "Port 80 needs privileges" in words(result)
    assert started == []


@pytest.mark.parametrize("host", ["192.0.2.1", "", "a" * 70])
def test_a_host_that_is_not_this_machines_is_refused(
    host: str, project: Project, run: Run, started: list[ServerOptions]
) -> None:
    """The message names the option and what to give instead."""
    result = run("serve", "--host", host, app=project("hello"))
    assert result.exit_code == 2
    assert "Invalid value for '--host'" in words(result)
    assert "0.0.0.0 for the network" in words(result)
    assert started == []


def test_an_unknown_host_name_is_refused(
    project: Project,
    run: Run,
    started: list[ServerOptions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With what the resolver said; it is played, so that no test asks the network."""

    def unknown(*args: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("flask_concurrency.cli.listening.socket.getaddrinfo", unknown)
    result = run("serve", "--host", "shop.example", app=project("hello"))
    assert result.exit_code == 2
    assert "'shop.example' is no address of this machine" in words(result)
    assert "Name or service not known" in words(result)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--workers", "0"),
        ("--workers", "100000"),
        ("--threads", "-1"),
        ("--port", "65536"),
        ("--port", "http"),
        ("--graceful-timeout", "0"),
    ],
)
def test_a_bad_number_names_its_option(
    option: str, value: str, project: Project, run: Run, started: list[ServerOptions]
) -> None:
    """And what it may be."""
    result = run("serve", option, value, app=project("hello"))
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in words(result)
    assert value in words(result)
    assert started == []


def test_a_wrong_limit_is_one_message_with_its_place(
    project: Project, run: Run, started: list[ServerOptions]
) -> None:
    """File and line of the author's code, not a traceback through ours."""
    source = """
        from flask import Flask
        from flask_concurrency import Concurrency

        app = Flask(__name__)
        Concurrency(app, default_limits="5 per minut")
    """
    path = project("wrong", source)
    result = run("serve", app=path)
    assert result.exit_code == 1
    assert f"{path}, line 6: '5 per minut' is not a limit" in result.output
    assert "Traceback" not in result.output
    assert started == []


@pytest.mark.slow
def test_the_place_of_a_mistake_is_the_authors_and_not_pythons(
    project: Project, tmp_path: Path
) -> None:
    """However deep in ours it is found, and by what of the standard library.

    As a program: here another file of ours calls what fails.
    """
    file = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    ledger = open_ledger(file, app="other", volatile=True)
    ledger.insert(new_record("report", [], {}, max_arguments=1_000))
    ledger.close()
    source = f"""
        from flask import Flask
        from flask_concurrency import Concurrency

        app = Flask(__name__)
        app.testing = True
        app.config["CONCURRENCY_JOBS"] = {{"ledger": "{file}"}}
        Concurrency(app)
    """
    path = project("mine", source)
    command = [sys.executable, "-m", "flask", "--app", str(path), "concurrency", "worker"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert f"Error: {path}, line 8: " in result.stderr
    assert "holds the jobs of the app 'other'" in result.stderr


def test_an_app_that_fails_to_load_starts_no_worker(
    project: Project, run: Run, started: list[ServerOptions]
) -> None:
    """Its own error comes out, as with every other ``flask`` command."""
    result = run("serve", app=project("broken", "1 / 0"))
    assert isinstance(result.exception, ZeroDivisionError)
    assert started == []


def test_a_missing_app_is_flasks_own_message(run: Run, started: list[ServerOptions]) -> None:
    """And its exit code."""
    result = run("serve", app="no_such_module")
    assert result.exit_code == 2
    assert "Could not import 'no_such_module'" in result.output
    assert started == []


def test_without_the_extra_one_line_says_what_to_install(
    project: Project,
    run: Run,
    started: list[ServerOptions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of the app is loaded for it."""
    monkeypatch.delitem(sys.modules, "flask_concurrency.cli.granian_server")
    monkeypatch.setitem(sys.modules, "granian", None)
    result = run("serve", app=project("broken", "1 / 0"))
    assert result.exit_code == 1
    assert result.output == (
        "Error: Serving needs granian, which is not installed: "
        'pip install "Flask-Concurrency[serve]"\n'
    )


FACTORY = """
    from flask import Flask

    def create_app(name="factory"):
        return Flask(name)

    application = None
"""


@pytest.mark.parametrize(
    ("name", "path", "target"),
    [
        ("hello", "hello.py", "hello:app"),
        ("hello", "hello.py:app", "hello:app"),
        ("factory", "factory.py", "factory:create_app()"),
        ("factory", "factory.py:create_app", "factory:create_app()"),
        ("factory", "factory.py:create_app('my shop')", "factory:create_app('my shop')"),
        ("wsgi", None, "wsgi:app"),
        ("app", None, "app:app"),
    ],
)
def test_gunicorn_is_given_the_same_app(
    name: str,
    path: str | None,
    target: str,
    project: Project,
    run: Run,
    started: list[ServerOptions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However it was named; gunicorn calls a factory only if it is written as a call."""
    written = project(name, FACTORY) if name == "factory" else project(name)
    monkeypatch.chdir(written.parent)
    command = gunicorn(run("serve", "--port", "0", "--workers", "3", app=path))
    port = str(started[0].port)
    assert command == [
        *("gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"),
        *("--workers", "3", "--threads", "8", "--graceful-timeout", "30"),
        *("--env", "FLASK_CONCURRENCY_SERVER_THREADS=8", target),
    ]
    assert started[0].import_path == path


def test_gunicorn_is_sent_to_the_apps_directory(
    project: Project, run: Run, started: list[ServerOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the app is not in the current one; spaces are quoted."""
    app = project("hello", directory="some where")
    monkeypatch.chdir(app.parent.parent)
    command = gunicorn(run("serve", "--port", "0", app="some where/hello.py"))
    assert command[-3:] == ["--chdir", str(app.parent), "hello:app"]


def test_a_command_line_of_the_apps_own_is_followed(
    project: Project,
    run: Run,
    started: list[ServerOptions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``FlaskGroup(create_app=create_app)`` names a function that workers can import."""
    path = project("factory", FACTORY)
    monkeypatch.syspath_prepend(path.parent)
    import factory  # type: ignore[import-not-found]

    result = run("serve", "--port", "0", app=ScriptInfo(create_app=factory.create_app))
    assert started[0].import_path == "factory:create_app"
    assert gunicorn(result)[-1] == "factory:create_app()"


def test_an_app_no_worker_could_find_is_refused(run: Run, started: list[ServerOptions]) -> None:
    """With the way to name it."""
    result = run("serve", app=ScriptInfo(create_app=lambda: Flask("hidden")))
    assert result.exit_code == 2
    assert "flask --app module:app concurrency serve" in words(result)
    assert started == []


@pytest.mark.parametrize("columns", [30, 80])
def test_no_sentence_is_wider_than_the_terminal(
    columns: int, project: Project, run: Run, started: list[ServerOptions]
) -> None:
    """But for the gunicorn command, which is to be copied."""
    result = run("serve", "--port", "0", "--workers", "2", app=project("hello"), columns=columns)
    sentences = result.output.splitlines()[1:-1]
    assert [line for line in sentences if len(line) > columns] == []


def test_asgi_is_announced_with_its_gunicorn_command(
    project: Project, run: Run, started: list[ServerOptions]
) -> None:
    """The server is given an ASGI application, which the app's module has to hold."""
    result = run(
        "serve", "--asgi", "--port", "0", "--workers", "2", "--threads", "3", app=project("hello")
    )
    assert started[0].asgi
    assert "2 processes of one event loop and 3 threads" in words(result)
    assert "asgi = concurrency.asgi_app(app)" in words(result)
    command = gunicorn(result)
    assert command[command.index("--worker-class") + 1] == "asgi"
    assert "FLASK_CONCURRENCY_POOL_THREADS=3" in command
    assert command[-1] == "hello:asgi"


def test_asgi_needs_the_extension(project: Project, run: Run) -> None:
    """An app without it cannot be served so, and the message says how to add it."""
    app = project("bare", "from flask import Flask\napp = Flask(__name__)\n")
    result = run("serve", "--asgi", app=app)
    assert result.exit_code == 1
    assert "concurrency = Concurrency(app)" in words(result)
