"""Projects on disk, and the ``flask concurrency`` command run on them, here or as a process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask.cli import ScriptInfo

from flask_concurrency.cli.group import concurrency
from flask_concurrency.cli.server_options import ServerOptions

STARTS_WITHIN = 30.0
ENDS_WITHIN = 30.0
FLASK = Path(sys.executable).with_name("flask")

HELLO = """
    from flask import Flask
    from flask_concurrency import Concurrency

    app = Flask(__name__)
    concurrency = Concurrency(app, default_limits="100/day; 10/hour")

    @app.get("/")
    @concurrency.limit("5/minute")
    def index():
        return "Hello, World!"
"""
"""The app of the tutorial's first chapter."""

Project = Callable[..., Path]
Run = Callable[..., Result]
FlaskServe = Callable[..., "Served"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """``project("hello", HELLO)`` writes ``hello.py`` and gives its path."""

    def write(name: str, source: str = HELLO, *, directory: str = "a project") -> Path:
        path = tmp_path / directory / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return path

    return write


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """``run("explain", "/", app=path)`` runs the command in this process.

    What it imports is forgotten afterwards. ``columns=`` is the terminal's width, ``answer=`` what
    is typed.
    """
    monkeypatch.setattr(sys, "path", sys.path[:])
    known = set(sys.modules)

    def invoke(
        *arguments: str,
        app: str | Path | ScriptInfo | None,
        columns: int = 80,
        answer: str | None = None,
    ) -> Result:
        monkeypatch.setenv("COLUMNS", str(columns))
        if not isinstance(app, ScriptInfo):
            app = ScriptInfo(None if app is None else str(app))
        return CliRunner().invoke(concurrency, arguments, obj=app, input=answer)

    yield invoke
    for name in set(sys.modules) - known:
        if not name.startswith(("flask_concurrency", "granian", "_granian")):
            del sys.modules[name]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServerOptions]:
    """What servers were to be started with, instead of starting them."""
    options: list[ServerOptions] = []
    monkeypatch.setattr("flask_concurrency.cli.granian_server.become_server", options.append)
    return options


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie, which has ended and was not waited for, does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def until(condition: Callable[[], bool], *, within: float = ENDS_WITHIN) -> None:
    """Poll for what another process does without notifying us."""
    give_up_at = time.monotonic() + within
    while not condition():
        assert time.monotonic() < give_up_at, f"{condition} did not come true within {within} s."
        time.sleep(0.02)


@dataclass
class Answer:
    """What a server answered."""

    status: int
    headers: Message
    text: str


@dataclass
class Served:
    """A ``flask concurrency serve`` process.

    :ivar said: What it printed before it began.
    :ivar workers: Its processes when it first answered.
    """

    process: subprocess.Popen[str]
    port: int = 0
    said: str = ""
    workers: list[int] = field(default_factory=list)

    def get(self, path: str) -> Answer:
        """Ask on a connection of its own."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=ENDS_WITHIN)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read().decode())

    def listens(self) -> bool:
        """Whether the server answers."""
        try:
            self.get("/nobody-home")
        except OSError:
            return False
        return True

    def until_listening(self) -> None:
        """Wait until the server answers."""
        until(self.listens, within=STARTS_WITHIN)

    def until_refused(self) -> None:
        """Wait until the server listens no longer."""
        until(lambda: not self.listens())

    def until_gone(self, *pids: int) -> None:
        """Wait until none of the processes lives."""
        until(lambda: not any(map(lives, pids)))

    def until_new_worker(self) -> None:
        """Wait until it has a process that it did not have at first."""
        until(lambda: not set(self.children()) <= set(self.workers))

    def children(self) -> list[int]:
        """The processes it has now."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def ends(self, *, within: float = ENDS_WITHIN) -> int:
        """Wait for its end and give the exit code; whatever it was, no worker may be left."""
        code = self.process.wait(within)
        self.until_gone(*self.workers)
        return code


@pytest.fixture
def held(tmp_path: Path, environment: dict[str, str]) -> Held:
    """A point in the served app's code that a test waits for and then releases."""
    place = Held(tmp_path / "entered", tmp_path / "leave")
    for name, pipe in (("ENTERED", place.entered), ("LEAVE", place.leave)):
        os.mkfifo(pipe)
        environment[name] = str(pipe)
    return place


@dataclass(frozen=True)
class Held:
    """Two named pipes; the app opens ``$ENTERED`` for writing, then ``$LEAVE`` for reading."""

    entered: Path
    leave: Path

    def until_entered(self) -> None:
        """Wait until the app is there."""
        self.entered.open().close()

    def let_go(self) -> None:
        """Let it go on."""
        self.leave.open("w").close()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What the command's process finds in its environment."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("FLASK_")}
    return {**ours, "TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.fixture
def flask_serve(environment: dict[str, str]) -> Iterator[FlaskServe]:
    """Run the command as a process for the length of a test.

    ``flask_serve("--workers", "1", app="hello", directory=path)`` gives a server that answers; with
    ``listens=False`` one that has only begun. ``stdin`` is a file descriptor. Whatever the test
    leaves running is killed.
    """
    servers: list[Served] = []

    def start(
        *options: str,
        app: str | None,
        directory: Path,
        listens: bool = True,
        stdin: int = subprocess.DEVNULL,
    ) -> Served:
        named = [] if app is None else ["--app", app]
        command = [str(FLASK), *named, "concurrency", "serve", "--port", "0"]
        process = subprocess.Popen(
            [*command, *options],
            cwd=directory,
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        served = Served(process)
        servers.append(served)
        served.said = _read_until(process, "gunicorn --bind")
        if "--uds" not in options:
            (port,) = re.findall(r"on http://127\.0\.0\.1:(\d+)", served.said)
            served.port = int(port)
        if listens:
            served.until_listening()
            served.workers = served.children()
        return served

    yield start
    for served in servers:
        running = served.children() if served.process.poll() is None else []
        for pid in (served.process.pid, *running, *served.workers):
            if lives(pid):
                os.kill(pid, signal.SIGKILL)
        served.process.wait()
        assert served.process.stdout is not None
        served.process.stdout.close()


def _read_until(process: subprocess.Popen[str], last: str) -> str:
    """What a process prints, up to the line that holds ``last``."""
    assert process.stdout is not None
    said = ""
    while last not in said:
        line = process.stdout.readline()
        assert line, f"It ended with: {said}"
        said += line
    return said
