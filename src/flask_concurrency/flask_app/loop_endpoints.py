"""Decide which requests of an app run on the server's event loop, and which on a thread.

And which have their asynchronous functions run as stock Flask does. Knows Flask's routing and
views; knows no server.

A request runs on the loop if its view is asynchronous, unless it was declared otherwise. All else,
404 and 405 included, may block and goes to a thread.
"""

from __future__ import annotations

import inspect
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from flask import Flask, has_request_context, request
from werkzeug.exceptions import HTTPException

from flask_concurrency.asgi.environ import CONNECTION
from flask_concurrency.flask_app.declarations import decorations
from flask_concurrency.vocabulary.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


AWAITS = "__flask_concurrency_awaits__"
"""Set on a view that is a plain function, and waits for an asynchronous one inside."""

AWAITED = "flask_concurrency.awaited"
"""In the WSGI environment: the view that may return a coroutine, to be awaited in its place."""

PLACE = "concurrency.runs_on"
"""Where in ``app.extensions`` stands what was declared for all of an app."""

Place = Literal["loop", "threads", "flask"]


@dataclass(frozen=True, slots=True)
class RunsOn:
    """Where the requests of a view, a class or a blueprint run.

    :raises ConfigurationError: It is none of the places.
    """

    place: Place

    def __post_init__(self) -> None:
        if self.place not in get_args(Place):
            raise ConfigurationError(f'runs_on({self.place!r}): give "loop", "threads" or "flask".')


class LoopEndpoints:
    """What of one app runs on the loop.

    :param app: The app. Its views may still be registered; it is asked in requests.
    :param owner: The extension whose declarations count.
    """

    def __init__(self, app: Flask, owner: object) -> None:
        self._app = app
        self._owner = owner
        self._views = 0
        self._anything = False
        self._fixed: dict[tuple[bool, str, str], bool] = {}

    def __call__(self, environ: WSGIEnvironment) -> bool:
        """Whether this request runs on the loop."""
        app = self._app
        if len(app.view_functions) != self._views:
            self._look_again()
        if not self._anything:
            return False  # such an app pays for no second look at its URLs
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        # A page and its WebSocket may have one path.
        asked = (CONNECTION in environ, method, path)
        known = self._fixed.get(asked)
        if known is not None:
            return known
        try:
            adapter = app.create_url_adapter(app.request_class(environ, populate_request=False))
            if adapter is None:
                return False
            rule, arguments = adapter.match(return_rule=True)
        except HTTPException:  # a redirect, 404, 405: no view will run, but hooks that may block
            return False
        except Exception:  # a converter that needs a context: Flask asks it again, in one
            return False
        on_loop = self._is_on_loop(rule.endpoint, method)
        # As many paths as there are rules without variables, whatever clients send.
        if not arguments and rule.rule == path and not _many_hosts(app):
            self._fixed[asked] = on_loop
        return on_loop

    def _is_on_loop(self, endpoint: str, method: str) -> bool:
        place = declared_place(self._app, self._owner, endpoint, method)
        if place is not None:
            return place == "loop"
        return is_async(self._app.view_functions.get(endpoint), method)

    def _look_again(self) -> None:
        views = list(self._app.view_functions.values())
        self._views = len(views)
        self._anything = any(is_async(view, None) for view in views) or any(
            mark == RunsOn("loop") for _, mark in decorations.on_routes(self._app)
        )
        self._anything = self._anything or place_of_app(self._app) == "loop"
        self._fixed.clear()


class FlaskEndpoints:
    """Which requests have their asynchronous functions run as stock Flask does.

    :param app: The app, which is not kept alive.
    :param owner: The extension whose declarations count.
    """

    def __init__(self, app: Flask, owner: object) -> None:
        self._app = weakref.ref(app)
        self._owner = owner
        self._known: tuple[int, Place | None] | None = None
        self._anything = False
        self._places: dict[tuple[str, str], bool] = {}

    def __call__(self) -> bool:
        """Whether the current request does."""
        app = self._app()
        if app is None:
            return False
        of_app = place_of_app(app)
        known = len(app.view_functions), of_app
        if known != self._known:
            self._known = known
            marked = any(mark == RunsOn("flask") for _, mark in decorations.on_routes(app))
            self._anything = marked or of_app == "flask"
            self._places.clear()
        if not self._anything:
            return False
        if not has_request_context() or request.endpoint is None:
            return of_app == "flask"
        asked = request.endpoint, request.method
        found = self._places.get(asked)
        if found is None:
            found = declared_place(app, self._owner, *asked) == "flask"
            self._places[asked] = found
        return found


def declared_place(app: Flask, owner: object, endpoint: str, method: str) -> Place | None:
    """Where the requests of an endpoint were declared to run; ``None`` if that was left open."""
    declared = [
        *(mark for _, mark in decorations.on_blueprints(app, endpoint, owner)),
        *decorations.on_view(app, endpoint, owner),
        *decorations.on_method(app, endpoint, method, owner)[1],
    ]
    for mark in reversed(declared):  # the narrowest
        if isinstance(mark, RunsOn):
            return mark.place
    return place_of_app(app)


def place_of_app(app: Flask) -> Place | None:
    """What was declared for all of an app."""
    place: Place | None = app.extensions.get(PLACE)
    return place


def is_async(view: Any, method: str | None) -> bool:
    """Whether a view is a coroutine function, or a class that answers ``method`` with one.

    :param method: ``None`` for any.
    """
    if inspect.iscoroutinefunction(view) or hasattr(view, AWAITS):
        return True
    view_class: Any = getattr(view, "view_class", None)
    if view_class is None:
        return False
    if inspect.iscoroutinefunction(view_class.dispatch_request):
        return True
    methods = [method] if method is not None else list(view_class.methods or ())
    if method == "HEAD" and not hasattr(view_class, "head"):
        methods = ["GET"]
    return any(
        inspect.iscoroutinefunction(getattr(view_class, name.lower(), None)) for name in methods
    )


def _many_hosts(app: Flask) -> bool:
    return app.url_map.host_matching or app.subdomain_matching
