"""Take the pictures of the dashboard for the docs: ``python -m examples.monitoring.picture``.

Decides what is asked of the shop, for how long, and where the pictures go.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from examples.demo.visitor import chromium
from examples.monitoring.served_shop import ROOT, ServedShop, served

IMAGES = ROOT / "docs" / "images"
CLIENTS = 12
SECONDS = 45.0
"""Of load, before a picture is taken; it goes on meanwhile."""


def main() -> None:
    """Serve the shop, load it, and photograph the page in light and in dark."""
    with served() as shop, loaded(shop), chromium(width=1100) as visitor:
        time.sleep(SECONDS)
        for name, scheme in (("dashboard.png", "light"), ("dashboard-dark.png", "dark")):
            visitor.prefer(scheme)
            visitor.open(f"http://127.0.0.1:{shop.port}/_concurrency/")
            time.sleep(3)
            visitor.photograph(IMAGES / name)
            print(f"{IMAGES / name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB")


@contextmanager
def loaded(shop: ServedShop) -> Iterator[None]:
    """Clients that ask without an end."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.05):
            shop.ask(random.choice(["/report", "/report", "/", f"/items/{random.randrange(60)}"]))

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        stop.set()
        for client in clients:
            client.join()


if __name__ == "__main__":
    main()
