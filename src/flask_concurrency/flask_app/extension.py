"""The extension a Flask developer holds: its options, decorators and executors.

Keeps no app: what belongs to one lives in ``app.extensions["concurrency"]``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar, overload

from flask import Flask, Response, current_app, has_app_context, request

from flask_concurrency.admission.limiter import normalized_key
from flask_concurrency.engine.declaration import Stage
from flask_concurrency.engine.journey import Journey
from flask_concurrency.flask_app import hooks
from flask_concurrency.flask_app.app_counters import AppCounters
from flask_concurrency.flask_app.app_snapshot import Snapshot, read_snapshot, reset_counts
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.app_store import AppStore
from flask_concurrency.flask_app.current_journey import JOURNEY
from flask_concurrency.flask_app.declarations import decorations
from flask_concurrency.flask_app.declarations.decorations import EXEMPT
from flask_concurrency.flask_app.declarations.keys import remote_address
from flask_concurrency.flask_app.declarations.options import (
    LimitsLike,
    declare,
    read_declarations,
)
from flask_concurrency.flask_app.declarations.priority import RequestPriority
from flask_concurrency.flask_app.declarations.time_limit import DeadlineDecorator, TimeLimit
from flask_concurrency.flask_app.declarations.unused import EXTENSION, DeclarationRegistry
from flask_concurrency.flask_app.http.cors import METHODS, cors_policy
from flask_concurrency.flask_app.http.origins import Origins
from flask_concurrency.flask_app.jobs.options import UNSET, Unset
from flask_concurrency.flask_app.limit_decorator import LimitDecorator
from flask_concurrency.flask_app.loop_endpoints import PLACE, FlaskEndpoints, Place, RunsOn
from flask_concurrency.flask_app.overload.health import HealthChecks
from flask_concurrency.flask_app.settings import read_settings
from flask_concurrency.flask_app.work.first_use import ExecutorsAtFirstUse
from flask_concurrency.flask_app.work.status_publishing import StatusPublishing
from flask_concurrency.runtime.deadline import remaining
from flask_concurrency.runtime.drain import watch_signals
from flask_concurrency.stores.opening import HOST_WORKS
from flask_concurrency.vocabulary.decision import Decision
from flask_concurrency.vocabulary.errors import ConfigurationError
from flask_concurrency.vocabulary.executor_names import Meaning, check_meaning
from flask_concurrency.vocabulary.limits import DynamicLimit, LimitLike
from flask_concurrency.vocabulary.priority import Priority
from flask_concurrency.vocabulary.request_functions import check_function

if TYPE_CHECKING:
    # Loaded by the methods that need them: an app with a few limits starts twice as fast.
    from flask_concurrency.asgi.application import AsgiBridge
    from flask_concurrency.executors.groups import AllTaskGroup, TaskGroup
    from flask_concurrency.executors.groups.policy import PolicyName
    from flask_concurrency.executors.loop import LoopThread
    from flask_concurrency.executors.processes.executor import ProcessExecutor
    from flask_concurrency.executors.threads import ThreadExecutor
    from flask_concurrency.flask_app.jobs.declared_job import DeclaredJob
    from flask_concurrency.flask_app.jobs.jobs import Jobs
    from flask_concurrency.flask_app.streaming.event_streams import Source
    from flask_concurrency.flask_app.streaming.websockets import Handler

Target = TypeVar("Target", bound=Any)
P = ParamSpec("P")
T = TypeVar("T")

MAX_MESSAGE_SIZE: Final = 2**20
"""Characters or bytes of a WebSocket's message, unless another bound is given."""


class Concurrency:
    """Control over concurrency for Flask apps: who may come in, and where the work runs.

    .. code-block:: python

        app = Flask(__name__)
        concurrency = Concurrency(app, default_limits="100/day; 10/hour")

    One object may serve many apps. Values in ``app.config`` win over those given here.

    :param app: The app to serve; or call :meth:`init_app` later.
    :param default_limits: Limits of each route by itself, with options as
        :class:`~flask_concurrency.Limits`. Default: none.
    :param app_limits: Limits counted once for the whole app, 404 and 405 included; the same.
        Default: none.
    :param key: Returns who is counted by a rate that names no key of its own. Default:
        :func:`~flask_concurrency.keys.remote_address`.
    :param store: Where counts live, as a URI. Default: ``"host://"``, shared by all processes of
        this host; ``"memory://"`` with ``app.testing``.
    :raises ConfigurationError: An option, or a ``CONCURRENCY_`` key of the app, is wrong.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        default_limits: LimitsLike | None = None,
        app_limits: LimitsLike | None = None,
        key: Callable[[], object] = remote_address,
        store: str | None = None,
    ) -> None:
        self._added: dict[str, Meaning] = {}
        self._given: dict[str, object] = {
            "default_limits": None if default_limits is None else read_declarations(default_limits),
            "app_limits": None if app_limits is None else read_declarations(app_limits),
            "store": store,
        }
        self._apps: weakref.WeakSet[Flask] = weakref.WeakSet()
        self._declarations = DeclarationRegistry(self._apps)
        self._needs_after_request = False
        self._key = check_function("key", key)
        self._jobs: Jobs | None = None
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Serve ``app``: read its configuration and install the hooks.

        :raises ConfigurationError: A ``CONCURRENCY_`` key is unknown or its value is wrong, or
            the app is served already.
        """
        if not isinstance(app, Flask):
            raise ConfigurationError(
                f"Concurrency({app!r}): give a Flask app; who is counted is said with key=."
            )
        if EXTENSION in app.extensions:
            raise ConfigurationError(
                f"{app.name!r} is served by a Concurrency already: call init_app once for an app."
            )
        read_again = partial(read_settings, app.config, **self._given)
        settings = read_again()
        publishing = StatusPublishing(app, settings)
        counters = AppCounters(app, settings)
        executors = ExecutorsAtFirstUse(
            app,
            settings,
            added=self._added,
            on_first_task=publishing.begin,
            on_task_end=counters.task_counting,
            runs_as_in_flask=FlaskEndpoints(app, self),
        )
        state = AppState(
            self,
            settings=settings,
            store=AppStore(app, settings, counters.store_lost),
            executors=executors,
            declarations=self._declarations,
            key=self._key,
            read_again=read_again,
            config=app.config,
            counters=counters,
        )
        state.announce = publishing.begin
        publishing.observe_limits(state.adaptive_snapshots)
        publishing.observe_refused(counters.refused_clients.snapshot)
        publishing.observe(executors)
        app.extensions[EXTENSION] = state
        self._apps.add(app)
        decorations.serve(app)
        self._declarations.serve()
        hooks.install(app, state)
        if settings.counts:
            counters.count_requests()
        state.install_after_request = partial(hooks.install_after_request, app, state)
        if self._needs_after_request or settings.charges_by_response:
            hooks.install_after_request(app, state)
        if self._jobs is not None:
            self._serve_jobs(self._jobs, app, state)
        elif settings.jobs:
            self._make_jobs()

    def limit(
        self,
        *limits: LimitLike,
        key: Callable[[], object] | None = None,
        cost: int | Callable[[], int] = 1,
        methods: Iterable[str] | None = None,
        exempt_when: Callable[[], bool] | None = None,
        replace: bool = False,
        name: str | None = None,
        at: Stage = "arrival",
        charge_when: Callable[[Response], bool] | None = None,
        final_cost: Callable[[Response], int] | None = None,
        shadow: bool = False,
        static: bool = False,
    ) -> LimitDecorator:
        """Limit a view, a ``View`` class or one of its methods, or every route of a blueprint.

        Adds to the defaults. All limits of a stage are asked at once: either all let the request
        in, or none is charged. As a block it limits what is done inside, wherever that is:

        .. code-block:: python

            with concurrency.limit("3/day", name="sms", key=phone_number):
                send(message)

        In a coroutine it may be ``async with``; in a task that waits there, it must be.

        :param limits: What to allow, such as ``"5/minute; 8 in flight"``, or a function that gives
            it in each request.
        :param key: Returns who is counted. Default: the extension's key for rates, all
            requests together for in-flight limits, since those protect the server.
        :param cost: Units a request spends; a callable is asked in each request. Default: ``1``.
        :param methods: HTTP methods it applies to; ``"GET"`` includes ``HEAD``. Default: all;
            ``OPTIONS`` that Flask answers by itself is never counted.
        :param exempt_when: Requests for which it answers true are not counted.
        :param replace: Whether the wider limits, but for ``app_limits``, stop applying here.
        :param name: Routes and blocks that give the same name share one count; a block needs one.
        :param at: ``"view"`` asks after all ``before_request`` hooks, for keys that need what they
            found, such as the user; ``"call"`` asks where the decorator stands, for those that need
            what the decorators above it found. Default: ``"arrival"``, before all hooks.
        :param charge_when: Asked with the response; where it answers false the request's units are
            given back. They are reserved meanwhile, so it cannot be raced. Default: always charge.
        :param final_cost: Asked with the response for the units that the request has cost, where
            that is known only after the work: ``cost`` is reserved first, and what was too much
            is given back, what is missing spent, as far as there is any left.
        :param shadow: Count and report, but admit: to see what a limit would do.
        :param static: Whether a blueprint's limit counts its static files, too.
        :raises ConfigurationError: Anything of it is malformed; raised here, not in a request.
        """
        declaration = declare(
            limits,
            key=key,
            cost=cost,
            methods=methods,
            exempt_when=exempt_when,
            replace=replace,
            name=name,
            at=at,
            charge_when=charge_when,
            final_cost=final_cost,
            shadow=shadow,
            static=static,
        )
        if declaration.settled_by_response:
            self._install_after_request()
        decorator = LimitDecorator(declaration, self._decorator(declaration), self._current_state)
        if any(isinstance(limit, DynamicLimit) for limit in declaration.limits):
            self._declarations.watch(decorator)
        return decorator

    def exempt(self, target: Target) -> Target:
        """Let every request to this view or blueprint in, whatever limits there are."""
        return self._decorator(EXEMPT)(target)

    def cors(
        self,
        target: Flask | None = None,
        *,
        origins: Origins,
        methods: Iterable[str] = METHODS,
        allow_headers: Iterable[str] | str = "*",
        expose_headers: Iterable[str] | str = (),
        supports_credentials: bool = False,
        max_age: int | timedelta | None = 600,
    ) -> Callable[[Target], Target]:
        """Let pages of other origins call an app, or a view or blueprint if used as a decorator.

        Preflights are answered before any limit and never counted. Refusals carry the same
        header fields, and scripts may read ``Retry-After``, ``RateLimit`` and ``Location``.

        :param target: The app; leave it out to decorate a view or blueprint.
        :param origins: Exact origins such as ``"https://shop.example"``, compiled patterns (which
            must match the whole origin), or ``"*"``.
        :param methods: Methods a page may use.
        :param allow_headers: Request headers a page may send. Default: all.
        :param expose_headers: Response headers a page may read beside ours.
        :param supports_credentials: Whether cookies may be sent; not with ``"*"``.
        :param max_age: Seconds a browser may remember a preflight. Default: 600.
        :raises ConfigurationError: An origin is malformed, or the combination is unsafe.
        """
        policy = cors_policy(
            origins=origins,
            methods=methods,
            allow_headers=allow_headers,
            expose_headers=expose_headers,
            supports_credentials=supports_credentials,
            max_age=max_age,
        )
        if target is not None:
            if not isinstance(target, Flask):
                raise ConfigurationError(
                    f"cors({target!r}, ...): give an app, or decorate a view or blueprint with "
                    "concurrency.cors(origins=...)."
                )
            self._state(target).cors = policy
        self._install_after_request()
        return self._decorator(policy)

    def deadline(self, seconds: float) -> DeadlineDecorator:
        """Give a view, a ``View`` class or method, a blueprint, or a block so much time.

        The time of a request runs from its arrival, waiting for a limit included, until its view
        has answered; what is sent then may take as long as it takes. When it is up, the client is
        answered 504, and the work is ended: tasks of the executors fail with
        :exc:`DeadlineExceeded`, their workers are killed, coroutines are cancelled. A view's own
        code cannot be interrupted; let it pass :meth:`remaining` on to what it calls.

        .. code-block:: python

            @app.get("/quote")
            @concurrency.deadline(2.0)
            def quote():
                return requests.get(URL, timeout=concurrency.remaining()).json()

        The view's own time wins over its blueprint's. A block can only shorten the time around it.

        :param seconds: How long, at most.
        :raises ConfigurationError: ``seconds`` is no time.
        """
        limit = TimeLimit(seconds)
        return DeadlineDecorator(limit, self._decorator(limit))

    def priority(self, priority: Priority | Callable[[], Priority]) -> Callable[[Target], Target]:
        """Say how much the requests of a view, a class or a blueprint matter under overload.

        .. code-block:: python

            @app.post("/pay")
            @concurrency.priority("critical")
            def pay(): ...

        Where an adaptive limit cannot admit all requests, ``"critical"`` ones are admitted longest,
        then ``"high"``, ``"normal"`` (as all are that say nothing) and ``"low"`` ones. A class may
        use all that the others leave.

        :param priority: One of the four words; or a function that gives one, called in a context of
            the request and only while not all requests are admitted.
        :raises ConfigurationError: It is no priority.
        """
        return self._decorator(RequestPriority(priority))

    def health(
        self, app: Flask, *, live: str | None = "/livez", ready: str | None = "/readyz"
    ) -> None:
        """Answer health checks before Flask sees them, however busy the app is.

        To know that the server was told to end, this watches SIGTERM, where it is called on the
        main thread after the server has installed its own handlers: when a worker imports the app.
        gunicorn with ``--preload`` needs ``watch_signals()`` in ``post_worker_init``.

        :param app: The app, after :meth:`init_app`.
        :param live: Path that says whether the process works. It answers 503 only where requests
            hang and none has ended for half a minute. ``None`` for none.
        :param ready: Path that says whether to send it requests: 503 while it is told to end, and
            while it refuses more than half of what comes. ``None`` for none.
        :raises ConfigurationError: A path is none, or both are the same.
        """
        state = self._state(app)
        front = state.front
        watch_signals()
        front.health = HealthChecks(
            live=live,
            ready=ready,
            draining=lambda: state.drain.begun,
            saturated=lambda: front.control is not None and front.control.saturated,
            stuck=lambda: front.control is not None and front.control.stuck,
        )

    def runs_on(self, place: Place) -> Callable[[Target], Target]:
        """Choose where the requests of a view, a class, a blueprint or an app run, hooks included.

        By itself a request with an asynchronous view runs on the server's loop on ASGI, all others
        on threads; on WSGI only the view itself runs on a loop, which all requests share.

        :param place: ``"threads"`` for an asynchronous view whose hooks block: only the view itself
            then runs on the loop. ``"loop"`` for a plain one that never blocks, or a decorated one
            that is asynchronous inside; both without effect on WSGI. ``"flask"`` runs asynchronous
            functions as Flask itself does, on WSGI and on ASGI: on a loop of their own, in the
            thread of their request. Then they share nothing that is kept by thread, may block, and
            cannot keep connections from one request to the next.
        :raises ConfigurationError: It is none of these.
        """
        mark: Callable[[Target], Target] = self._decorator(declaration := RunsOn(place))

        def decorate(target: Target) -> Target:
            if isinstance(target, Flask):
                target.extensions[PLACE] = declaration.place
                return target
            return mark(target)

        return decorate

    def asgi_app(self, app: Flask) -> AsgiBridge:
        """Make the ASGI application of an app, for servers such as uvicorn, granian and hypercorn.

        The app is the same, unchanged. Its asynchronous views run on the server's event loop, in
        any number at once; all other requests run on :attr:`threads`, each whole. :attr:`loop`
        becomes the server's loop.

        :param app: The app, after :meth:`init_app`.
        :raises ConfigurationError: It is not served by this extension yet.
        """
        from flask_concurrency.flask_app.asgi_app import make_asgi_app

        return make_asgi_app(app, self._state(app))

    def metrics(
        self, app: Flask, path: str = "/metrics", *, access: Callable[[], object] | None = None
    ) -> None:
        """Count the app's requests, and show them to Prometheus at a path of the app.

        Right on any number of workers, with no directory to set up and none to clean: a worker
        that dies takes no count along. Needs ``pip install "Flask-Concurrency[metrics]"``.

        :param app: The app, after :meth:`init_app`.
        :param path: Where Prometheus asks. The route is exempt from limits.
        :param access: Asked in the request; a true answer lets it in, others get 403. Default:
            clients of this machine that no proxy has passed on.
        :raises ConfigurationError: The path is taken, or prometheus-client is missing.
        """
        from flask_concurrency.flask_app.metrics_endpoint import add_metrics

        add_metrics(app, self._state(app), path, access, self.exempt)

    def opentelemetry(self, app: Flask, *, meter_provider: Any = None) -> None:
        """Record the app's requests, limits and tasks with OpenTelemetry's instruments.

        The same that :meth:`metrics` shows, with the same names and labels; each process records
        what happens in it. Needs ``pip install "Flask-Concurrency[opentelemetry]"``. Spans need
        nothing: tasks on :attr:`threads`, :attr:`loop` and :attr:`processes` have the span of their
        caller as parent.

        :param app: The app, after :meth:`init_app`, before its first request.
        :param meter_provider: Makes the instruments. Default: the process's own provider.
        :raises ConfigurationError: opentelemetry-api is missing.
        """
        from flask_concurrency.exporters.open_telemetry import Instruments

        counters = self._state(app).counters
        counters.mirror = Instruments(meter_provider).record
        counters.count_requests()

    def dashboard(
        self,
        app: Flask,
        url_prefix: str = "/_concurrency",
        *,
        access: Callable[[], object] | None = None,
    ) -> None:
        """Count the app's requests, and show live on one page what it does.

        Load, refusals, limits, executors and the slowest routes, of all workers of this host, with
        an hour of history that outlives them; and who is refused, whose count can be reset or who
        can be exempted for ten minutes there. Each such action is logged.

        :param app: The app, after :meth:`init_app`.
        :param url_prefix: Where the page is. Its routes are exempt from limits.
        :param access: Asked in the request; a true answer lets it in, others get 403. Default:
            clients of this machine that no proxy has passed on, and only in debug mode.
        :raises ConfigurationError: Another route has the prefix, or the platform has no file locks.
        """
        if not HOST_WORKS:
            raise ConfigurationError(
                "The dashboard shares its history between processes by file locks, which this "
                "platform does not have. Show the counts with concurrency.metrics(app) instead."
            )
        from flask_concurrency.flask_app.dashboard.pages import add_dashboard

        state = self._state(app)
        add_dashboard(app, state, url_prefix, access, self.exempt, state.announce)

    def event_stream(self, source: Source, *, heartbeat: float | None = 15.0) -> Response:
        """Answer with server-sent events, for the ``EventSource`` of a browser.

        .. code-block:: python

            @app.get("/prices")
            @concurrency.limit("1000 in flight")
            async def prices():
                async def changes():
                    async for price in feed:
                        yield Event(price, event="price")

                return concurrency.event_stream(changes())

        The stream ends with its source, when the client leaves, and when the server is told to
        end; an in-flight permit is held until then. A stream of an asynchronous source costs no
        thread under ASGI, in an ordinary view as well; one of a source that blocks costs one, and
        another for its signs of life.

        :param source: Gives text, data that is sent as JSON, or
            :class:`~flask_concurrency.Event` objects, one after another, synchronously or not; or
            is a function that makes such a source of the ``Last-Event-ID`` that the client sent,
            ``None`` if it sent none.
        :param heartbeat: Seconds of silence after which a comment is sent, so that no proxy
            takes the connection for dead, and a client that has left is noticed.
        :raises TypeError: ``source`` gives no events.
        :raises ValueError: ``heartbeat`` is no time.
        """
        from flask_concurrency.flask_app.streaming.event_streams import event_response

        state = self._current_state()
        return event_response(
            source,
            heartbeat=heartbeat,
            loop=state.executors.loop,
            drain=state.drain,
            opened=partial(state.counters.connection_opened, "event_stream"),
        )

    @overload
    def websocket(self, handler: Handler) -> Callable[..., Response]: ...
    @overload
    def websocket(
        self,
        handler: None = None,
        *,
        origins: Origins = ...,
        subprotocols: str | Iterable[str] = ...,
        max_message_size: int | None = ...,
    ) -> Callable[[Handler], Callable[..., Response]]: ...
    def websocket(
        self,
        handler: Handler | None = None,
        *,
        origins: Origins = (),
        subprotocols: str | Iterable[str] = (),
        max_message_size: int | None = MAX_MESSAGE_SIZE,
    ) -> Any:
        """Make a view of a function that handles a WebSocket, on WSGI and on ASGI alike.

        .. code-block:: python

            @app.route("/echo", websocket=True)
            @concurrency.websocket
            def echo(ws):
                while True:
                    ws.send(ws.receive())

        The handler gets a :class:`~flask_concurrency.WebSocket`, an ``async`` one an
        :class:`~flask_concurrency.AsyncWebSocket`, before the arguments of its URL. It runs within
        its request: hooks come before it, permits are held and teardowns wait until it ends. A
        deadline ends when the WebSocket is open. Returning closes it; :exc:`ConnectionClosed` need
        not be caught; any other error is logged and closes it with code 1011.

        :param origins: Whose pages may connect beside those of the same origin, as for
            :meth:`cors`; ``"*"`` for all.
        :param subprotocols: Those it speaks. The first one the client names of them is
            ``ws.subprotocol``.
        :param max_message_size: Characters of text, or bytes, that one message may have. A larger
            one closes it with code 1009. ``None``: any number. Default: 1 MiB.
        :raises ConfigurationError: An option is malformed.
        """
        from flask_concurrency.flask_app.streaming.websockets import (
            websocket_options,
            websocket_view,
        )

        options = websocket_options(origins, subprotocols, max_message_size)

        def decorate(handler: Handler) -> Callable[..., Response]:
            return websocket_view(handler, options, self._current_state)

        return decorate if handler is None else decorate(handler)

    @overload
    def job(self, function: Callable[P, T], /) -> DeclaredJob[P, T]: ...
    @overload
    def job(
        self,
        function: None = None,
        /,
        *,
        name: str | None = ...,
        queue: str = ...,
        timeout: float | Unset | None = ...,
        retries: int | Unset = ...,
        backoff: float | Unset = ...,
        interruptions: int | Unset = ...,
        rerun: bool | Unset = ...,
        keep: float | Unset = ...,
        keep_failed: float | Unset = ...,
    ) -> Callable[[Callable[P, T]], DeclaredJob[P, T]]: ...
    def job(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        timeout: float | Unset | None = UNSET,
        retries: int | Unset = UNSET,
        backoff: float | Unset = UNSET,
        interruptions: int | Unset = UNSET,
        rerun: bool | Unset = UNSET,
        keep: float | Unset = UNSET,
        keep_failed: float | Unset = UNSET,
    ) -> Any:
        """Declare a function as a job: work that outlives its request, and is never lost.

        .. code-block:: python

            @concurrency.job(timeout=600, retries=3)
            def build_report(year):
                concurrency.jobs.current.progress(0.4, "month 5")
                return {"rows": 12000}

            @app.post("/reports")
            def create():
                return build_report.submit(request.json["year"]).accepted()

        A worker runs it: ``flask concurrency worker``, or the one that ``flask concurrency serve``
        starts. Arguments and results are JSON.

        :param name: Under which it is kept. Default: the function's name.
        :param queue: Which workers run it: those of ``flask concurrency worker --queues``.
        :param timeout: Seconds an attempt may take; ``None`` for any time. Default: an hour.
        :param retries: Attempts that may follow an error. Default: none.
        :param backoff: Seconds before the first retry; doubled for each further one. Default: 2.
        :param interruptions: Attempts that may follow one whose worker died. Default: 2.
        :param rerun: Whether it may start again after its worker died; else it fails then.
        :param keep: Seconds for which record and result are kept. Default: a day.
        :param keep_failed: The same after it failed. Default: seven days.
        :raises ConfigurationError: An option is wrong, or another function has the name.
        """
        options = {
            "timeout": timeout,
            "retries": retries,
            "backoff": backoff,
            "interruptions": interruptions,
            "rerun": rerun,
            "keep": keep,
            "keep_failed": keep_failed,
        }

        def declare(function: Callable[..., Any]) -> DeclaredJob[..., Any]:
            return self.jobs.declare(function, name=name, queue=queue, options=options)

        return declare if function is None else declare(function)

    @property
    def jobs(self) -> Jobs:
        """Jobs of the app: ``submit``, ``get``, ``list``, ``cancel``, ``retry``, ``current``."""
        return self._jobs or self._make_jobs()

    @property
    def threads(self) -> ThreadExecutor:
        """The app's bounded pool of threads: a :class:`concurrent.futures.Executor`.

        Each task sees the caller's request and has an app context of its own. ``map`` gives
        results in order; ``await concurrency.threads.run(fn, …)`` waits without blocking a loop.
        """
        return self._current_state().executors.threads

    @property
    def processes(self) -> ProcessExecutor:
        """The app's warm pool of worker processes: a :class:`concurrent.futures.Executor`.

        Functions, arguments and results must be picklable; a worker that dies fails only its own
        task.
        """
        return self._current_state().executors.processes

    @property
    def loop(self) -> LoopThread:
        """The event loop on which the app's ``async`` views run, one for the whole process."""
        return self._current_state().executors.loop

    def add_executor(self, name: str, executor: Meaning) -> None:
        """Give any other :class:`concurrent.futures.Executor` a name, beside the app's own two.

        .. code-block:: python

            concurrency.add_executor("dask", client.get_executor())

        Its tasks fail at their deadline as any others do. The request is taken along to a
        ``ThreadPoolExecutor``; to others goes nothing but the arguments.
        ``CONCURRENCY_EXECUTORS`` may say otherwise what a name stands for.

        :param name: What to call it.
        :param executor: The executor, a function that makes it when it is first needed, or the
            name of another one.
        :raises ConfigurationError: It is none of these, or the name is taken.
        """
        check_meaning(name, executor)
        if name in self._added:
            raise ConfigurationError(
                f"There is an executor {name!r} already: {self._added[name]!r}. "
                "Choose another name."
            )
        self._added[name] = executor

    def executor(self, name: str) -> Executor:
        """The executor of a name: ``"threads"``, ``"processes"``, or one that was added.

        :raises ConfigurationError: There is none of that name.
        """
        return self._current_state().executors.named.get(name)

    @overload
    def task_group(
        self, timeout: float | None = None, policy: Literal["all"] = "all"
    ) -> AllTaskGroup: ...
    @overload
    def task_group(self, timeout: float | None = None, policy: PolicyName = "all") -> TaskGroup: ...
    def task_group(self, timeout: float | None = None, policy: PolicyName = "all") -> TaskGroup:
        """Tasks that end with their block, wherever each of them runs.

        .. code-block:: python

            with concurrency.task_group(timeout=3.0) as group:
                page = group.threads.submit(fetch, url)
                size = group.processes.submit(crunch, data)
            return {"page": page.result(), "size": size.result()}

        In coroutines it is ``async with``, and tasks can be awaited. ``group.loop`` takes async
        functions, ``group.executor(name)`` is any other executor.

        :param timeout: Seconds for all tasks together, or less if the request has less. ``None``:
            as much as the request has.
        :param policy: ``"all"``: the first error cancels the rest and is raised. ``"any"``: the
            first result is ``group.result()``, and cancels the rest. ``"settle"``: all are waited
            for, and ``group.results()`` tells how each ended. ``"partial"``: as ``"all"``, but at
            the deadline ``group.results()`` are those that are ready.
        :raises ConfigurationError: ``timeout`` or ``policy`` is none.
        """
        from flask_concurrency.executors.groups import AllTaskGroup, TaskGroup

        executors = self._current_state().executors
        make = AllTaskGroup if policy == "all" else TaskGroup
        return make(executors.named.get, executors.loop, timeout=timeout, policy=policy)

    def reset(self, key: object = None, *, name: str | None = None) -> int:
        """Reset rates, as after the right password; permits stay held.

        .. code-block:: python

            concurrency.reset(request.form["email"], name="login")

        For the app in context. Other processes of a shared store see it at once; each of them may
        repeat a refusal for a second more. Limits that a function chooses are reached as far as
        this process has chosen them.

        :param key: Whose, as the limit's key gives it, such as ``"192.0.2.7"``; ``""`` for what
            counts all requests together. Default: every key, of all limits.
        :param name: Only limits of this name: that of ``limit(..., name=)``, or a limiter's, such
            as ``"route:5/minute"``. Default: all.
        :returns: How many counts there were.
        :raises ConfigurationError: A name without a key: stores keep digests of keys, by key.
        :raises StoreError: The counts cannot be written.
        """
        if key is None and name is not None:
            raise ConfigurationError(
                f"reset(name={name!r}): say whose count, as in reset(key, name={name!r}); without "
                "both, all counts of the app begin anew."
            )
        app, state = self._current_app()
        return reset_counts(app, state, key=None if key is None else normalized_key(key), name=name)

    def snapshot(self, key: object = None) -> Snapshot:
        """Look at what limits count and executors do, in all processes; nothing is spent.

        For the app in context. It is what ``flask concurrency status --json`` prints.

        :param key: Whose counts to read where clients are counted apart. Default: none, which
            leaves those limits out.
        :raises StoreError: The counts cannot be read.
        """
        app, state = self._current_app()
        return read_snapshot(app, state, key=None if key is None else normalized_key(key))

    @staticmethod
    def remaining() -> float | None:
        """Seconds left for the work in hand, ``0.0`` if its time is up; ``None`` for no deadline.

        In a view, and in the tasks it hands to threads, to worker processes and to the loop.
        """
        return remaining()

    @property
    def current(self) -> Decision | None:
        """The decision on the current request so far; ``None`` where no limit applies."""
        journey: Journey | None = request.environ.get(JOURNEY)
        return None if journey is None or not journey.answers else journey.decision

    def _install_after_request(self) -> None:
        self._needs_after_request = True
        for app in self._apps:
            hooks.install_after_request(app, self._state(app))

    def _decorator(self, declaration: object) -> Callable[[Target], Target]:
        def decorate(target: Target) -> Target:
            carrier, decoration = decorations.attach(target, self, declaration)
            self._declarations.remember(carrier, decoration)
            decorated: Target = carrier
            return decorated

        return decorate

    def _make_jobs(self) -> Jobs:
        # Here, since most apps have none, and SQLite takes its time to import.
        from flask_concurrency.flask_app.jobs.jobs import Jobs

        jobs = self._jobs = Jobs(lambda: self._current_app()[0])
        for app in self._apps:
            self._serve_jobs(jobs, app, self._state(app))
        return jobs

    def _serve_jobs(self, jobs: Jobs, app: Flask, state: AppState) -> None:
        from flask_concurrency.flask_app.jobs.routes import add_routes

        options, namespace = state.settings.jobs, state.settings.namespace or app.name
        add_routes(app, jobs.serve(app, options, namespace), self.event_stream)

    def _current_state(self) -> AppState:
        """The state of the app in context; outside of one, of the only app there is."""
        return self._current_app()[1]

    def _current_app(self) -> tuple[Flask, AppState]:
        if has_app_context():
            app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
            return app, self._state(app)
        apps = list(self._apps)
        if len(apps) == 1:
            return apps[0], self._state(apps[0])
        if not apps:
            raise RuntimeError(
                "This Concurrency serves no app yet: call concurrency.init_app(app), or write "
                "Concurrency(app)."
            )
        raise RuntimeError(
            "No app is in context, and this Concurrency serves "
            f"{len(apps)} apps: use its executors inside a request or 'with app.app_context():'."
        )

    def _state(self, app: Flask) -> AppState:
        try:
            state: AppState = app.extensions[EXTENSION]
        except (AttributeError, KeyError):
            raise ConfigurationError(
                f"{app!r} is not served by this Concurrency: call concurrency.init_app(app) first."
            ) from None
        return state
