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
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(server: str, port: int) -> list[str]:
    """What starts a server, such as ``"gthread:16"``, with as many threads."""
    kind, _, threads = server.partition(":")
    python = [sys.executable, "-m"]
    here = f"127.0.0.1:{port}"
    gunicorn = [
        *python,
        "gunicorn",
        "--no-control-socket",
        "--log-level=critical",
        f"--bind={here}",
    ]
    gunicorn += ["--workers=1", "--graceful-timeout=1"]
    return {
        "sync": [*gunicorn, "--worker-class=sync", f"{APP}:wsgi"],
        "gthread": [*gunicorn, "--worker-class=gthread", f"--threads={threads}", f"{APP}:wsgi"],
        "waitress": [
            *[*python, "waitress", f"--listen={here}", f"--threads={threads}"],
            *["--connection-limit=4000", f"{APP}:wsgi"],
        ],
        "granian": [
            *[*python, "granian", "--interface=wsgi", "--host=127.0.0.1", f"--port={port}"],
            *["--workers=1", f"--blocking-threads={threads}", "--log-level=critical"],
            f"{APP}:wsgi",
        ],
        "uvicorn": [
            *[*python, "uvicorn", "--host=127.0.0.1", f"--port={port}", "--no-access-log"],
            *["--log-level=critical", f"{APP}:asgi"],
        ],
    }[kind]


@contextmanager
def serving(server: str, limit: str = "") -> Iterator[int]:
    """Serve the app, and give its port.

    :param limit: What stands before it; empty for nothing.
    """
    port = free_port()
    with _running(command(server, port), port, {"BENCH_LIMIT": limit}):
        yield port


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
def _running(words: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
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
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                break
            time.sleep(0.02)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
