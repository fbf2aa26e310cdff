"""The gateway asks five services at once, on both interfaces, with one client for all requests."""

from __future__ import annotations

import json
import runpy
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

SERVICES = runpy.run_path(str(Path(__file__).parents[2] / "examples/gateway/app.py"))["SERVICES"]
GIVE_UP = 30


class Services:
    """Five services on loopback, each of which waits until all are asked.

    :ivar connections: How many connections were made.
    :ivar failing: Those that answer 500.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.failing: set[str] = set()
        services = self
        together = threading.Barrier(len(SERVICES))

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                services.connections += 1

            def do_GET(self) -> None:
                name = self.path[1:]
                together.wait(GIVE_UP)
                body = json.dumps(f"the {name}").encode()
                self.send_response(500 if name in services.failing else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    services = Services()
    thread = threading.Thread(target=services.server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("SERVICES_URL", f"http://127.0.0.1:{services.server.server_port}")
    yield services
    services.server.shutdown()
    thread.join()
    services.server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("server", ["gunicorn-gthread", "granian-asgi"])
def test_all_services_are_asked_at_once_on_kept_connections(
    serve: Callable[..., str], services: Services, server: str
) -> None:
    """No service answers before all are asked; ten pages make no more connections than one."""
    url = serve("examples/gateway/app", server)
    for _ in range(10):
        page = requests.get(url, timeout=GIVE_UP)
        assert page.json() == {name: f"the {name}" for name in SERVICES}
    assert services.connections == len(SERVICES)

    services.failing.add("news")
    broken = requests.get(url, timeout=GIVE_UP)
    assert broken.status_code == 502
    assert broken.json() == {"error": "A service did not answer: HTTPStatusError."}
