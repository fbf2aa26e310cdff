"""Find out who asks, before Flask has looked at the request: priority, client, exemption.

Knows the app's declarations and URLs; decides nothing. Called only while not all can be admitted,
since it takes as long as a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from flask import Flask
from werkzeug.exceptions import HTTPException

from flask_concurrency.admission.adaptive_limit import UNKNOWN_ASKER, Asker
from flask_concurrency.admission.limiter import normalized_key
from flask_concurrency.asgi.environ import make_environ
from flask_concurrency.flask_app.declarations import decorations
from flask_concurrency.flask_app.declarations.decorations import EXEMPT
from flask_concurrency.flask_app.declarations.keys import network, remote_address
from flask_concurrency.flask_app.declarations.priority import RequestPriority
from flask_concurrency.flask_app.http.cors import CorsPolicy
from flask_concurrency.vocabulary.errors import ConfigurationError
from flask_concurrency.vocabulary.priority import Priority, check_priority
from flask_concurrency.vocabulary.safe_logger import SafeLogger

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from flask_concurrency.asgi.interface import Scope

logger = SafeLogger("flask_concurrency.overload")

MAX_PATHS: Final = 1_024
"""Paths of rules without variables that are kept."""


class Askers:
    """Who asks, for the requests of one app.

    :param app: The app. Its views may still be registered; it is asked in requests.
    :param owner: The extension whose declarations count.
    """

    def __init__(self, app: Flask, owner: object) -> None:
        self._app = app
        self._owner = owner
        self._views = -1
        self._declares = False
        self._cors = False
        self._fixed: dict[tuple[str, str], tuple[object, bool]] = {}
        self._said: set[object] = set()

    @property
    def finds_cors(self) -> bool:
        """Whether a view or blueprint may be called by pages of other origins."""
        if len(self._app.view_functions) != self._views:
            self._look_again()
        return self._cors

    def asker(self, environ: WSGIEnvironment, key: Callable[[], object]) -> Asker:
        """Who sends a request.

        :param key: Gives who is counted; called in a request context, unless it is
            :func:`~flask_concurrency.keys.remote_address`.
        """
        priority, exempt = self._declared(environ)
        if not callable(priority) and key is remote_address:
            counted = normalized_key(network(environ.get("REMOTE_ADDR") or ""))
            return Asker(priority, hash(counted), exempt)
        try:
            with self._app.request_context(environ):
                return Asker(self._chosen(priority), self._key(key), exempt)
        except Exception:
            self._say_once("context", "A request cannot be looked at before Flask; it is normal.")
            return UNKNOWN_ASKER._replace(exempt=exempt)

    def asker_on_asgi(self, scope: Scope, key: Callable[[], object]) -> Asker:
        """The same for an ASGI request; its WSGI environment is made only where it is needed.

        To make it takes 15 µs, and that for each request that is refused.
        """
        if len(self._app.view_functions) != self._views:
            self._look_again()
        client = scope.get("client")
        if self._declares or key is not remote_address or not client:
            return self.asker(make_environ(scope), key)
        return Asker("normal", hash(normalized_key(network(client[0]))))

    def _chosen(self, priority: Priority | Callable[[], Priority]) -> Priority:
        if not callable(priority):
            return priority
        try:
            return check_priority(priority())
        except ConfigurationError as error:
            self._say_once(priority, "%s It is taken for 'normal'.", error)
        except Exception:
            self._say_once(priority, "A priority cannot be found out; it is taken for 'normal'.")
        return "normal"

    def _key(self, key: Callable[[], object]) -> int | None:
        try:
            return hash(normalized_key(key()))
        except Exception:
            self._say_once(key, "A client's key cannot be found out; its share is not counted.")
            return None

    def _say_once(self, what: object, message: str, *arguments: object) -> None:
        """Log what would be the same in each request."""
        if what not in self._said:
            self._said.add(what)
            logger.warning(message, *arguments, exc_info=True)

    def _declared(self, environ: WSGIEnvironment) -> tuple[Priority | Callable[[], Priority], bool]:
        """What is declared for a request's route: its priority, and whether it is exempt."""
        app = self._app
        if len(app.view_functions) != self._views:
            self._look_again()
        if not self._declares:
            return "normal", False
        asked = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        known = self._fixed.get(asked)
        if known is not None:
            return known  # type: ignore[return-value]  # as it was found below
        try:
            adapter = app.create_url_adapter(app.request_class(environ, populate_request=False))
            if adapter is None:
                return "normal", False
            rule, arguments = adapter.match(return_rule=True)
        except HTTPException:
            return "normal", False
        except Exception:  # a converter that needs a context
            return "normal", False
        declared = self._of(rule.endpoint, asked[0])
        fixed = not arguments and rule.rule == asked[1]
        many_hosts = app.url_map.host_matching or app.subdomain_matching
        if fixed and not many_hosts and len(self._fixed) < MAX_PATHS:
            self._fixed[asked] = declared
        return declared

    def _of(self, endpoint: str, method: str) -> tuple[Priority | Callable[[], Priority], bool]:
        priority: Priority | Callable[[], Priority] = "normal"
        exempt = False
        for declaration in (
            *(each for _, each in decorations.on_blueprints(self._app, endpoint, self._owner)),
            *decorations.on_view(self._app, endpoint, self._owner),
            *decorations.on_method(self._app, endpoint, method, self._owner)[1],
        ):
            if isinstance(declaration, RequestPriority):
                priority = declaration.priority  # the narrowest wins
            elif declaration is EXEMPT:
                exempt = True
        return priority, exempt

    def _look_again(self) -> None:
        self._views = len(self._app.view_functions)
        found = [declaration for _, declaration in decorations.on_routes(self._app)]
        self._declares = any(
            isinstance(declaration, RequestPriority) or declaration is EXEMPT
            for declaration in found
        )
        self._cors = any(isinstance(declaration, CorsPolicy) for declaration in found)
        self._fixed.clear()
