"""Gather what is known of a deployment. Judges nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flask import Flask

from flask_concurrency.cli.doctor.server_command import ServerCommand
from flask_concurrency.cli.routes import ListedRoute
from flask_concurrency.engine.explanation import ExplainedLimit
from flask_concurrency.flask_app.settings import Settings

if TYPE_CHECKING:
    from flask_concurrency.flask_app.work.status_file import ExecutorStatus

ADDRESS: Final = "remote_address"

PROXIES: Final = {
    "KUBERNETES_SERVICE_HOST": "Kubernetes",
    "ECS_CONTAINER_METADATA_URI_V4": "Amazon ECS",
    "DYNO": "Heroku",
    "RENDER": "Render",
    "FLY_APP_NAME": "Fly.io",
    "K_SERVICE": "Cloud Run",
    "WEBSITE_INSTANCE_ID": "Azure App Service",
    "RAILWAY_ENVIRONMENT": "Railway",
}
"""Environment variables of platforms that put a proxy before every app, and run it many times."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a deployment.

    :ivar app: The app, loaded.
    :ivar routes: Its routes and their limits.
    :ivar server: How it is served; ``None`` where that is not known.
    :ivar environment: The environment variables.
    :ivar threads: Names of the threads that importing the app has started.
    :ivar processes: What the processes of a running server last said; none if it says nothing.
    """

    app: Flask
    settings: Settings
    store_uri: str
    routes: tuple[ListedRoute, ...]
    server: ServerCommand | None
    environment: Mapping[str, str]
    threads: tuple[str, ...]
    processes: tuple[ExecutorStatus, ...] = ()

    @property
    def platform(self) -> str | None:
        """The platform it runs on, if it is one of those that put a proxy before it."""
        return next((name for key, name in PROXIES.items() if key in self.environment), None)

    def limits(self) -> Iterator[tuple[ListedRoute, ExplainedLimit]]:
        """Every limit that applies, with its route."""
        for route in self.routes:
            for limit in route.explanation.applying:
                yield route, limit


def middleware(app: Flask) -> Iterator[object]:
    """The WSGI middleware around an app, from the outside in."""
    around: Any = app.wsgi_app
    for _ in range(20):
        yield around
        inner = (getattr(around, name, None) for name in ("app", "_wsgi_app", "wsgi_app"))
        around = next((each for each in inner if callable(each) and each is not around), None)
        if around is None:
            return
