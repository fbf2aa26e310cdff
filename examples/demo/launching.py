"""Decide which servers the demo consists of, and run them. Prints nothing, knows no signal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from threading import Event

from examples.demo.origins import HOME_VARIABLE, PORT_VARIABLE, STORE_VARIABLE, Origins
from examples.demo.servers import RunningServers, Server, running
from examples.demo.sizes import BLOCKING_THREADS, OVERLOADED_THREADS, PAGE_THREADS, WORKERS


@contextmanager
def launched(origins: Origins, stopped: Event | None = None) -> Iterator[RunningServers]:
    """Run the demo until the block ends; its counts begin at nothing.

    Raises what :func:`examples.demo.servers.running` does.

    :param stopped: Set to stop the demo while it still starts.
    """
    with (
        TemporaryDirectory(prefix="demo-") as home,
        TemporaryDirectory(prefix="demo-counts-") as counts,
    ):
        told = {
            PORT_VARIABLE: str(origins.port),
            # By itself the extension would go on counting where an earlier demo left off.
            STORE_VARIABLE: f"host://{counts}",
            HOME_VARIABLE: home,
        }
        with running(servers(origins), told, stopped) as started:
            yield started


def servers(origins: Origins) -> list[Server]:
    """API and stock Flask alike, the overloaded app twice, and the page with a worker for jobs."""
    api, stock = (
        Server(f"examples.demo.{app}:app", origin, WORKERS, BLOCKING_THREADS, "/wait?seconds=0")
        for app, origin in (("api", origins.api), ("stock", origins.stock))
    )
    small = [
        Server(f"examples.demo.overloaded:{name}", origin, 1, OVERLOADED_THREADS, "/livez")
        for name, origin in (("without", origins.without), ("with_it", origins.with_it))
    ]
    return [
        api,
        stock,
        *small,
        Server("examples.demo.page:app", origins.page, 1, PAGE_THREADS, "/", jobs=True),
    ]
