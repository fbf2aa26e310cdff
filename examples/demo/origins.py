"""Decide where each server of the demo listens and is told so. Knows no Flask, starts nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass

HOST = "127.0.0.1"
DEFAULT_PORT = 8600
PORT_VARIABLE = "DEMO_PORT"
STORE_VARIABLE = "DEMO_CONCURRENCY_STORE"
"""What ``app.config.from_prefixed_env("DEMO")`` reads as ``CONCURRENCY_STORE``."""
HOME_VARIABLE = "DEMO_HOME"
"""The folder in which the page's jobs are kept."""
LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Origins:
    """Five neighbouring ports: the page, the API it calls, stock Flask to compare with, and a small
    app that is overloaded, without and with an adaptive limit.

    :param port: The page's port; the others follow it.
    """

    port: int = DEFAULT_PORT

    @classmethod
    def from_environment(cls) -> Origins:
        """What the launcher told this server process."""
        return cls(int(os.environ.get(PORT_VARIABLE, DEFAULT_PORT)))

    @property
    def page(self) -> str:
        """Where the page is, such as ``http://127.0.0.1:8600``."""
        return _origin(self.port)

    @property
    def page_aliases(self) -> tuple[str, ...]:
        """All origins a browser on this machine may see the page under."""
        return (self.page, _origin(self.port, host="localhost"))

    @property
    def api(self) -> str:
        """Where the API is: another origin, since its port differs."""
        return _origin(self.port + 1)

    @property
    def stock(self) -> str:
        """Where the same asynchronous view runs in Flask without extension."""
        return _origin(self.port + 2)

    @property
    def without(self) -> str:
        """Where the small app is that is overloaded without an adaptive limit."""
        return _origin(self.port + 3)

    @property
    def with_it(self) -> str:
        """Where the same app is with one."""
        return _origin(self.port + 4)


def _origin(port: int, host: str = HOST) -> str:
    return f"http://{host}:{port}"
