"""``flask concurrency serve`` as a process: limits over HTTP, and every way a server ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

FLASK = Path(sys.executable).with_name("flask")
SOON = 25.0
"""Seconds, well below the 30 that requests in flight would get."""

Project = Callable[..., Path]
FlaskServe = Callable[..., Any]

HELD = """
    import os
    from flask import Flask

    app = Flask(__name__)

    @app.get("/held")
    def held():
        open(os.environ["ENTERED"], "w").close()
        open(os.environ["LEAVE"]).close()
        return "finished"
"""


def stop_by_sigterm(process: subprocess.Popen[str]) -> None:
    """As ``kill`` and most service managers do."""
    process.terminate()


def stop_by_ctrl_c(process: subprocess.Popen[str]) -> None:
    """As a terminal does: every process of the foreground group is interrupted."""
    os.killpg(process.pid, signal.SIGINT)


def stop_all_at_once(process: subprocess.Popen[str]) -> None:
    """As systemd does by default: the main process gets the signal, and then its workers."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    for pid in (process.pid, *map(int, children.split())):
        with suppress(ProcessLookupError):  # the main process may have been quicker
            os.kill(pid, signal.SIGTERM)


STOPS = [stop_by_sigterm, stop_by_ctrl_c, stop_all_at_once]


def test_the_tutorials_app_keeps_its_promise(project: Project, flask_serve: FlaskServe) -> None:
    """The sixth request of a minute is refused by any worker; the hour's limit has counted five."""
    directory = project("hello").parent
    server = flask_serve("--workers", "2", app="hello", directory=directory)
    answers = [server.get("/") for _ in range(6)]
    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert answers[0].text == "Hello, World!"
    refused = answers[5]
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers.get_content_type() == "application/problem+json"
    assert json.loads(refused.text)["violated-policies"] == ["route:5/minute"]
    for answer, left in ((answers[4], 5), (refused, 5)):
        assert f'"default:10/hour";r={left};' in answer.headers["RateLimit"]
    server.process.terminate()
    assert server.ends() == 0


@pytest.mark.parametrize("stop", STOPS)
def test_an_idle_server_ends_at_once_and_leaves_nothing(
    stop: Callable[[subprocess.Popen[str]], None], project: Project, flask_serve: FlaskServe
) -> None:
    """With exit code 0, whichever process receives the signal."""
    directory = project("hello").parent
    server = flask_serve("--workers", "2", app="hello", directory=directory)
    assert len(server.workers) == 2
    stop(server.process)
    assert server.ends(within=SOON) == 0


@pytest.mark.parametrize("stop", STOPS)
def test_requests_in_flight_are_finished_first(
    stop: Callable[[subprocess.Popen[str]], None],
    project: Project,
    flask_serve: FlaskServe,
    held: Any,
) -> None:
    """New connections are refused meanwhile, and the client gets its whole answer."""
    directory = project("slow", HELD).parent
    server = flask_serve("--workers", "1", app="slow", directory=directory)
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(server.get, "/held")
        held.until_entered()
        stop(server.process)
        server.until_refused()
        held.let_go()
        assert (answer.result().status, answer.result().text) == (200, "finished")
    assert server.ends(within=SOON) == 0


def test_a_request_that_never_ends_is_cut_off(
    project: Project, flask_serve: FlaskServe, held: Any
) -> None:
    """After the graceful timeout, or the server would never be gone."""
    directory = project("slow", HELD).parent
    options = ("--workers", "1", "--graceful-timeout", "1")
    server = flask_serve(*options, app="slow", directory=directory)
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(server.get, "/held")
        held.until_entered()
        server.process.terminate()
        assert server.ends(within=SOON) == 0
        assert isinstance(answer.exception(), (OSError, HTTPException))


def test_a_stop_while_the_app_is_being_loaded_is_not_lost(
    project: Project, flask_serve: FlaskServe, held: Any
) -> None:
    """A worker in its imports ends with the others, without waiting for any timeout."""
    source = """
        import multiprocessing, os
        from flask import Flask

        if multiprocessing.parent_process() is not None:
            open(os.environ["ENTERED"], "w").close()
            open(os.environ["LEAVE"]).close()
        app = Flask(__name__)
    """
    directory = project("sleepy", source).parent
    server = flask_serve("--workers", "1", app="sleepy", directory=directory, listens=False)
    held.until_entered()
    server.process.terminate()
    assert server.ends(within=SOON) == 0


def test_a_worker_that_dies_is_replaced(project: Project, flask_serve: FlaskServe) -> None:
    """One request may be lost with it; the next ones are answered."""
    directory = project("hello").parent
    server = flask_serve("--workers", "1", app="hello", directory=directory)
    os.kill(server.workers[0], signal.SIGKILL)
    server.until_new_worker()
    server.workers += server.children()
    server.until_gone(server.workers[0])
    server.until_listening()
    assert server.get("/").status == 200
    server.process.terminate()
    assert server.ends() == 0


def test_workers_do_not_outlive_a_killed_server(project: Project, flask_serve: FlaskServe) -> None:
    """Else they would serve old code for ever, and keep the port."""
    directory = project("hello").parent
    server = flask_serve("--workers", "3", app="hello", directory=directory)
    server.process.kill()
    assert server.ends(within=SOON) == -signal.SIGKILL
    server.until_refused()


def test_sighup_serves_the_new_code(project: Project, flask_serve: FlaskServe) -> None:
    """Workers load the app afresh, because the main process never holds it."""
    path = project("hello")
    server = flask_serve("--workers", "1", app="hello", directory=path.parent)
    # Of another length: within one second Python knows a changed file by its size alone.
    path.write_text(path.read_text().replace("Hello, World!", "Good evening to you!"))
    server.process.send_signal(signal.SIGHUP)
    server.until_new_worker()
    server.until_gone(*server.workers)
    server.workers += server.children()
    assert server.get("/").text == "Good evening to you!"


def test_a_closed_terminal_ends_the_server(project: Project, flask_serve: FlaskServe) -> None:
    """There SIGHUP means that its terminal is gone."""
    directory = project("hello").parent
    controller, terminal = os.openpty()
    try:
        server = flask_serve("--workers", "1", app="hello", directory=directory, stdin=terminal)
        server.process.send_signal(signal.SIGHUP)
        assert server.ends(within=SOON) == 0
    finally:
        os.close(controller)
        os.close(terminal)


def test_an_app_that_only_workers_cannot_load_ends_the_server(
    project: Project, flask_serve: FlaskServe
) -> None:
    """Instead of starting worker after worker for ever."""
    source = """
        import multiprocessing
        from flask import Flask

        if multiprocessing.parent_process() is not None:
            raise RuntimeError("no second copy of this app, please")
        app = Flask(__name__)
    """
    directory = project("jealous", source).parent
    server = flask_serve("--workers", "2", app="jealous", directory=directory, listens=False)
    assert server.ends(within=SOON) == 1
    assert "no second copy of this app, please" in server.process.stdout.read()


FACTORY = """
    from flask import Flask

    def create_app(name="a shop"):
        app = Flask(name)
        app.add_url_rule("/", "index", lambda: name)
        return app
"""


@pytest.mark.parametrize(
    ("file", "app", "text"),
    [
        ("shop", "shop:create_app", "a shop"),
        ("shop", "../a project/shop.py:create_app('two words')", "two words"),
        ("wsgi", None, "a shop"),
    ],
)
def test_workers_load_the_app_that_the_command_named(
    file: str, app: str | None, text: str, project: Project, flask_serve: FlaskServe
) -> None:
    """Factories with arguments, paths with spaces, or nothing at all."""
    directory = project(file, FACTORY).parent
    server = flask_serve("--workers", "1", app=app, directory=directory)
    assert server.get("/").text == text


def test_a_projects_own_modules_do_not_break_the_server(
    project: Project, flask_serve: FlaskServe
) -> None:
    """A ``calendar.py`` beside the app is the app's, not the standard library's."""
    project("calendar", "raise RuntimeError('not this one')")
    directory = project("hello").parent
    assert flask_serve("--workers", "1", app="hello", directory=directory).get("/").status == 200


def test_an_app_without_the_extension_is_served(project: Project, flask_serve: FlaskServe) -> None:
    """With the polite word, and without limits."""
    directory = project("plain", FACTORY).parent
    server = flask_serve("--workers", "1", app="plain:create_app", directory=directory)
    assert "'a shop' has no limits" in server.said
    assert {server.get("/").status for _ in range(12)} == {200}


def test_workers_know_their_threads(project: Project, flask_serve: FlaskServe) -> None:
    """So that requests which wait for a permit leave some of them free to refuse."""
    source = """
        from flask import Flask
        from flask_concurrency import Concurrency

        app = Flask(__name__)
        Concurrency(app)

        @app.get("/")
        def index():
            return str(app.extensions["concurrency"].settings.server_threads)
    """
    directory = project("curious", source).parent
    options = ("--workers", "1", "--threads", "5")
    assert flask_serve(*options, app="curious", directory=directory).get("/").text == "5"


def command(
    *arguments: str, directory: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the command until it ends by itself."""
    return subprocess.run(
        [str(FLASK), "--app", "hello", "concurrency", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )


def test_a_second_server_on_a_port_is_refused(
    project: Project, flask_serve: FlaskServe, environment: dict[str, str]
) -> None:
    """It neither shares the port nor disturbs the first."""
    directory = project("hello").parent
    server = flask_serve("--workers", "1", app="hello", directory=directory)
    second = command(
        "serve", "--port", str(server.port), directory=directory, environment=environment
    )
    assert second.returncode == 1
    assert second.stderr.startswith(f"Error: Port {server.port} of 127.0.0.1 is in use")
    assert second.stdout == ""
    assert server.get("/").status == 200


def test_flask_finds_the_command_and_says_what_is_missing(
    project: Project, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Without granian everything else still works; serving says what to install."""
    blocker = tmp_path / "blocker" / "sitecustomize.py"
    blocker.parent.mkdir()
    blocker.write_text("import sys\nsys.modules['granian'] = None\n")
    environment["PYTHONPATH"] = str(blocker.parent)
    directory = project("hello").parent
    explained = command("explain", directory=directory, environment=environment)
    assert (explained.returncode, explained.stderr) == (0, "")
    assert "route:5/minute" in explained.stdout
    served = command("serve", directory=directory, environment=environment)
    assert served.returncode == 1
    assert served.stderr.splitlines() == [
        "Error: Serving needs granian, which is not installed: "
        'pip install "Flask-Concurrency[serve]"'
    ]


ASYNC = """
    import asyncio, os, threading
    from flask import Flask
    from flask_concurrency import Concurrency

    app = Flask(__name__)
    concurrency = Concurrency(app, default_limits="100/day")
    loops = set()

    @app.get("/async")
    async def on_loop():
        loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return f"{len(loops)} {threading.current_thread().name}"

    @app.get("/sync")
    def on_thread():
        return f"{concurrency.threads.max_workers} {threading.current_thread().name}"

    @app.get("/held")
    async def held():
        open(os.environ["ENTERED"], "w").close()
        await asyncio.to_thread(lambda: open(os.environ["LEAVE"]).close())
        return "finished"
"""


def test_asgi_serves_the_same_app(project: Project, flask_serve: FlaskServe, held: Any) -> None:
    """Async views share the server's loop, others have threads, and a stop lets both finish."""
    directory = project("later", ASYNC).parent
    options = ("--asgi", "--workers", "1", "--threads", "3")
    server = flask_serve(*options, app="later", directory=directory)
    assert "1 process of one event loop and 3 threads" in server.said
    for _ in range(2):
        assert server.get("/async").text == "1 MainThread"
    number, _, thread = server.get("/sync").text.partition(" ")
    assert number == "3"
    assert thread.startswith("threads")
    assert "default:100/day" in server.get("/sync").headers["RateLimit"]
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(server.get, "/held")
        held.until_entered()
        server.process.terminate()
        held.let_go()
        assert answer.result().text == "finished"
    assert server.ends() == 0


ENDS = """
    import time
    from flask import Flask, Response, current_app
    from flask_concurrency import Concurrency

    concurrency = Concurrency()

    def name():
        return current_app.name

    def create_app():
        app = Flask("shop")
        app.add_url_rule("/export", view_func=export)
        app.add_url_rule("/feed", view_func=feed)
        app.add_url_rule("/name", view_func=lambda: concurrency.processes.submit(name).result())
        concurrency.init_app(app)
        return app

    def export():
        return Response(rows())

    def rows():
        yield "row"
        time.sleep(0.1)
        raise ValueError("in the middle")

    def events():
        while True:
            time.sleep(0.05)
            yield "event"

    def feed():
        return concurrency.event_stream(events())
"""


def test_an_event_stream_ends_when_the_server_is_told_to(
    project: Project, flask_serve: FlaskServe
) -> None:
    """On WSGI as well, where its connection would keep a worker until it is cut off."""
    directory = project("shop", ENDS).parent
    server = flask_serve("--workers", "1", "--wsgi", app="shop", directory=directory)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /feed HTTP/1.1\r\nHost: shop\r\n\r\n")
        received = b""
        while b"data: event" not in received:
            received += client.recv(4096)
        server.process.terminate()
        while piece := client.recv(4096):
            received += piece
    assert received.endswith(b"0\r\n\r\n")
    assert server.process.wait(SOON) == 0


@pytest.mark.parametrize(("interface", "looks_failed"), [("--wsgi", False), ("--asgi", True)])
def test_a_stream_that_fails_looks_failed_by_asgi(
    project: Project, flask_serve: FlaskServe, interface: str, looks_failed: bool
) -> None:
    """The fact that the choice of an interface rests on; should granian change it, this fails."""
    directory = project("shop", ENDS).parent
    server = flask_serve("--workers", "1", interface, app="shop", directory=directory)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /export HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        received = b""
        while piece := client.recv(4096):
            received += piece
    assert b"row" in received
    assert received.endswith(b"0\r\n\r\n") is not looks_failed


def test_tasks_in_worker_processes_find_the_app_of_a_factory(
    project: Project, flask_serve: FlaskServe
) -> None:
    """As what ``--app`` names, though the server is another program."""
    server = flask_serve("--workers", "1", app="shop", directory=project("shop", ENDS).parent)
    assert server.get("/name").text == "shop"


def test_requests_and_the_servers_life_are_logged(
    project: Project, flask_serve: FlaskServe
) -> None:
    """The former with ``--access-log``, the latter by itself."""
    directory = project("shop", ENDS).parent
    server = flask_serve("--workers", "1", "--access-log", app="shop", directory=directory)
    assert server.get("/nothing").status == 404
    server.process.terminate()
    said, _ = server.process.communicate(timeout=SOON)
    assert "/nothing" in said
    assert "Shutting down" in said


def test_a_unix_socket_is_listened_on(project: Project, flask_serve: FlaskServe) -> None:
    """Instead of a port; the start prints its path."""
    directory = project("shop", ENDS).parent
    path = directory / "shop.sock"
    server = flask_serve(
        "--workers", "1", "--uds", str(path), app="shop", directory=directory, listens=False
    )
    assert f"unix:{path}" in server.said
    give_up_at = time.monotonic() + SOON
    while not path.exists() and time.monotonic() < give_up_at:
        time.sleep(0.05)
    with socket.socket(socket.AF_UNIX) as client:
        while client.connect_ex(str(path)) and time.monotonic() < give_up_at:
            time.sleep(0.05)
        client.sendall(b"GET /nothing HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 404")


def test_a_changed_file_is_served_with_reload(project: Project, flask_serve: FlaskServe) -> None:
    """No signal is needed."""
    app = "from flask import Flask\napp = Flask('shop')\napp.add_url_rule('/', 'i', lambda: '{}')"
    directory = project("shop", app.format("old")).parent
    server = flask_serve("--workers", "1", "--reload", app="shop", directory=directory)
    assert server.get("/").text == "old"
    (directory / "shop.py").write_text(app.format("quite new"))
    server.until_new_worker()
    server.until_gone(*server.workers)
    server.workers += server.children()
    assert server.get("/").text == "quite new"
