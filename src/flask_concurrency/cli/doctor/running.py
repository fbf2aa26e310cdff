"""Look for what is wrong with a server that runs, by what its processes last said of themselves.

One function a fault, as in :mod:`flask_concurrency.cli.doctor.checks`; reads facts, prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final

from werkzeug.middleware.proxy_fix import ProxyFix

from flask_concurrency.cli.doctor.facts import ADDRESS, Facts, middleware
from flask_concurrency.cli.doctor.finding import Finding

ENOUGH: Final = 20
"""Refusals from which on it is told that all of them were of one address."""


def more_processes_than_said(facts: Facts) -> Iterator[Finding]:
    """Advice is about the server that was named; another one may be running."""
    server, running = facts.server, len(facts.processes)
    if server is not None and running > server.workers:
        yield Finding(
            "another-server-runs",
            "warning",
            f"{running} processes of this app run, and {server.source} starts {server.workers}.",
            "What is checked here is not what runs: the server was started otherwise, or an old "
            "one has not ended.",
            "flask concurrency status   # which they are",
        )


def refused_at_a_proxy(facts: Facts) -> Iterator[Finding]:
    """Refusals that are all of one private address are those of all clients of a proxy."""
    if any(isinstance(each, ProxyFix) for each in middleware(facts.app)):
        return
    by_address = {limit.name for _, limit in facts.limits() if limit.key == ADDRESS}
    times: dict[str, int] = {}
    for process in facts.processes:
        for key, (number, _, limit) in process.refused.items():
            if limit in by_address:
                times[key] = times.get(key, 0) + number
    if len(times) != 1:
        return
    ((key, number),) = times.items()
    if number >= ENOUGH and _is_private(key):
        yield Finding(
            "refused-at-a-proxy",
            "error",
            f"All of the last {number} refusals were of {key}, an address of this network, and "
            "the app trusts no proxy.",
            "It is a proxy's: all clients behind it share one count.",
            "app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)   # before Concurrency(app)",
        )


def _is_private(key: str) -> bool:
    try:
        return ip_network(key, strict=False).is_private
    except ValueError:
        return False
