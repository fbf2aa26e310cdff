"""Start the servers that are overloaded, and the proxies that others put before them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

APP = "benchmarks.overload.app"
ROOT = Path(__file__).parents[2]

NGINX = """
worker_processes 1; daemon off; pid {directory}/nginx.pid; error_log /dev/null crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {directory}; proxy_temp_path {directory};
  fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
  limit_conn_zone $server_name zone=all:1m;
  server {{ listen 127.0.0.1:{port} backlog=4096; server_name bench;
    location / {{ limit_conn all {most}; limit_conn_status 503;
      proxy_pass http://127.0.0.1:{behind}; proxy_read_timeout 30s; }} }} }}
"""
HAPROXY = """
global
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout queue {queue}ms
frontend in
  bind 127.0.0.1:{port} backlog 4096
  default_backend app
backend app
  server one 127.0.0.1:{behind} maxconn {most}
"""


def free_port() -> int:
    """A port that no server listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(server: str, port: int, workers: int = 1, app: str = "app") -> list[str]:
    """What starts a server, such as ``"gthread:16"``, with as many threads.

    :param workers: Processes, where it takes more than one.
    :param app: ``"app"``, ``"bare"`` for one that refuses all without Flask, or ``"demo"``.
    """
    wsgi, asgi = f"{APP}:{app}_wsgi", f"{APP}:{app}_asgi"
    kind, _, threads = server.partition(":")
    python = [sys.executable, "-m"]
    here = f"127.0.0.1:{port}"
    gunicorn = [
        # By its script: started as a module it cannot start its successor at SIGUSR2.
        sys.executable,
        str(Path(sys.executable).with_name("gunicorn")),
        "--no-control-socket",
        "--log-level=critical",
        f"--bind={here}",
    ]
    gunicorn += [f"--workers={workers}", "--graceful-timeout=1"]
    return {
        "sync": [*gunicorn, "--worker-class=sync", wsgi],
        "gthread": [*gunicorn, "--worker-class=gthread", f"--threads={threads}", wsgi],
        "gthread+preload": [
            *[*gunicorn, "--worker-class=gthread", f"--threads={threads}", "--preload", wsgi]
        ],
        "waitress": [
            *[*python, "waitress", f"--listen={here}", f"--threads={threads}"],
            *["--connection-limit=4000", wsgi],
        ],
        "granian": [
            *[*python, "granian", "--interface=wsgi", "--host=127.0.0.1", f"--port={port}"],
            *[f"--workers={workers}", f"--blocking-threads={threads}", "--log-level=critical"],
            wsgi,
        ],
        "uvicorn": [
            *[*python, "uvicorn", "--host=127.0.0.1", f"--port={port}", "--no-access-log"],
            *["--log-level=critical", asgi],
        ],
    }[kind]


@contextmanager
def serving(
    server: str, limit: str = "", *, workers: int = 1, by_key: bool = False, app: str = "app"
) -> Iterator[int]:
    """Serve the app, and give its port.

    :param limit: What stands before it; empty for nothing.
    :param workers: Processes.
    :param by_key: Whether clients are told apart by ``?key=``, and not by their address.
    :param app: ``"app"``, ``"bare"`` for one that refuses all without Flask, or ``"demo"``.
    """
    with serving_by(server, limit, workers=workers, by_key=by_key, app=app) as (port, _):
        yield port


@contextmanager
def serving_by(
    server: str, limit: str = "", *, workers: int = 1, by_key: bool = False, app: str = "app"
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The same, with the server's first process."""
    port = free_port()
    environment = {"BENCH_LIMIT": limit, **({"BENCH_KEYS": "1"} if by_key else {})}
    with _running(command(server, port, workers, app), port, environment) as process:
        yield port, process


@contextmanager
def behind_nginx(server: str, most: int) -> Iterator[int]:
    """Serve the app behind nginx with ``limit_conn``, which refuses at once."""
    with ExitStack() as stack:
        behind = stack.enter_context(serving(server))
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        os.chmod(directory, 0o777)  # nginx changes its user
        port = free_port()
        written = Path(directory, "nginx.conf")
        written.write_text(NGINX.format(directory=directory, port=port, behind=behind, most=most))
        nginx = ["nginx", "-e", "/dev/null", "-c", str(written), "-p", directory]
        stack.enter_context(_running(nginx, port, {}))
        yield port


@contextmanager
def behind_haproxy(server: str, most: int, queue: float) -> Iterator[int]:
    """Serve the app behind HAProxy with ``maxconn``, where requests wait for so many seconds."""
    with ExitStack() as stack:
        behind = stack.enter_context(serving(server))
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        port = free_port()
        written = Path(directory, "haproxy.cfg")
        written.write_text(
            HAPROXY.format(port=port, behind=behind, most=most, queue=round(queue * 1e3))
        )
        stack.enter_context(_running(["haproxy", "-f", str(written)], port, {}))
        yield port


def has(program: str) -> bool:
    """Whether a program is installed."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is not None


@contextmanager
def _running(
    words: list[str], port: int, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        give_up_at = time.monotonic() + 30
        while True:
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"{words[:4]} did not start.")
            if _answers(port):
                break
            time.sleep(0.02)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int) -> bool:
    """Whether the app answers: gunicorn takes connections before its worker has loaded it."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10.0)
    try:
        connection.request("GET", "/livez", headers={"Connection": "close"})
        connection.getresponse().read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True
