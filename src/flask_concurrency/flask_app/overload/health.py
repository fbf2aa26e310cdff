"""Answer health checks before Flask sees them, however busy the app is. Knows paths and states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from flask_concurrency.vocabulary.errors import ConfigurationError

HEADERS: Final = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
METHODS: Final = ("GET", "HEAD")


class Health(NamedTuple):
    """What a health check is answered.

    :ivar status: The WSGI status line.
    :ivar body: A JSON object.
    """

    status: str
    body: bytes


class HealthChecks:
    """The health checks of one app.

    :param live: The path that says whether the process works at all.
    :param ready: The path that says whether it should be sent requests.
    :param draining: Whether the server is about to stop.
    :param saturated: Whether more than half of what comes is refused.
    :param stuck: Whether requests hang and nothing ends.
    :raises ConfigurationError: A path is none, or both are the same.
    """

    def __init__(
        self,
        *,
        live: str | None,
        ready: str | None,
        draining: Callable[[], bool],
        saturated: Callable[[], bool],
        stuck: Callable[[], bool],
    ) -> None:
        for option, path in (("live", live), ("ready", ready)):
            if path is not None and (not isinstance(path, str) or not path.startswith("/")):
                raise ConfigurationError(
                    f'health({option}={path!r}): give a path, as in {option}="/{option}z", or None.'
                )
        if live == ready:
            raise ConfigurationError(
                f"health(live={live!r}, ready={ready!r}): give two paths that differ; a process "
                "that is to get no requests is not to be killed for it."
            )
        self._live = live
        self._ready = ready
        self._draining = draining
        self._saturated = saturated
        self._stuck = stuck

    def answer(self, method: str, path: str) -> Health | None:
        """What to say to a request; ``None`` if it is no health check."""
        if (path != self._live and path != self._ready) or method not in METHODS:
            return None
        if path == self._live:
            return _said("503 Service Unavailable", "stuck") if self._stuck() else _OK
        if self._draining():
            return _said("503 Service Unavailable", "draining")
        if self._saturated():
            return _said("503 Service Unavailable", "saturated")
        return _OK

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> list[bytes] | None:
        """Answer a WSGI request; ``None`` if it is no health check."""
        method = environ["REQUEST_METHOD"]
        found = self.answer(method, environ["PATH_INFO"])
        if found is None:
            return None
        start_response(found.status, [*HEADERS, ("Content-Length", str(len(found.body)))])
        return [] if method == "HEAD" else [found.body]


def _said(status: str, word: str) -> Health:
    return Health(status, b'{"status": "%s"}' % word.encode())


_OK: Final = _said("200 OK", "ok")
