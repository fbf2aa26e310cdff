"""Take the pictures of the dashboard for the docs: ``python -m examples.monitoring.picture``.

Decides what is asked of the shop, for how long, and where the pictures go.
"""

from __future__ import annotations

import http.client
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from examples.demo.visitor import chromium

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
PORT = 8690
CLIENTS = 12
SECONDS = 45.0
"""Of load, before a picture is taken; it goes on meanwhile."""


def main() -> None:
    """Serve the shop, load it, and photograph the page in light and in dark."""
    with served(), loaded(), chromium(width=1100) as visitor:
        time.sleep(SECONDS)
        for name, scheme in (("dashboard.png", "light"), ("dashboard-dark.png", "dark")):
            visitor.prefer(scheme)
            visitor.open(f"http://127.0.0.1:{PORT}/_concurrency/")
            time.sleep(3)
            visitor.photograph(IMAGES / name)
            print(f"{IMAGES / name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB")


@contextmanager
def served() -> Iterator[None]:
    """The shop on two workers, with counts of its own."""
    command = [sys.executable, "-m", "flask", "--app", "examples.monitoring.shop", "concurrency"]
    command += ["serve", "-w", "2", "-t", "16", "-p", str(PORT), "--log-level", "error"]
    with TemporaryDirectory() as directory:
        os.chmod(directory, 0o700)
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "XDG_RUNTIME_DIR": directory}
        )
        try:
            while not asked("/items/1"):
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait()


@contextmanager
def loaded() -> Iterator[None]:
    """Clients that ask without an end."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.05):
            asked(random.choice(["/report", "/report", "/", f"/items/{random.randrange(60)}"]))

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        stop.set()
        for client in clients:
            client.join()


def asked(path: str) -> bool:
    """Ask for a path, and say whether there was an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        connection.getresponse().read()
        return True
    return False


if __name__ == "__main__":
    main()
