"""``flask concurrency serve``: check everything first, say what is served, then serve it.

Knows the command's options and what to print; the serving is another file's.
"""

from __future__ import annotations

import os
import shlex

import click
from flask import Flask
from flask.cli import ScriptInfo, pass_script_info

from flask_concurrency.cli.chosen_app import asgi_app_of, load, not_served, state_of
from flask_concurrency.cli.import_target import gunicorn_target, import_path
from flask_concurrency.cli.interfaces import Choice, choose
from flask_concurrency.cli.listening import Address, free_address
from flask_concurrency.cli.routes import list_routes
from flask_concurrency.cli.sentences import in_short, layout, paragraph, store_location
from flask_concurrency.cli.server_options import (
    GRACEFUL_TIMEOUT,
    THREADS,
    ServerOptions,
    available_cpus,
)
from flask_concurrency.engine.declaration import Declaration
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.jobs.app_jobs import jobs_of
from flask_concurrency.flask_app.settings import POOL, SERVED_WITH

SHOWN_ROUTES = 12
"""Routes listed at start-up; ``flask concurrency explain`` lists all."""


@click.command()
@click.option("--host", "-h", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port",
    "-p",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 takes any free one.",
)
@click.option(
    "--workers",
    "-w",
    type=click.IntRange(1, 256),
    default=available_cpus,
    show_default="CPUs this process may use",
    help="Processes.",
)
@click.option(
    "--threads",
    "-t",
    type=click.IntRange(1, 1024),
    default=THREADS,
    show_default=True,
    help="Threads of each process that run views.",
)
@click.option(
    "--graceful-timeout",
    type=click.IntRange(1, 1800),
    default=GRACEFUL_TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="How long requests in flight may take when the server stops; then they are cut off.",
)
@click.option(
    "--asgi/--wsgi",
    default=None,
    help="Run async views on one event loop a process, any number at once; or all on threads. "
    "By default as the app needs, which is said with the reason.",
)
@click.option(
    "--uds",
    type=click.Path(),
    metavar="PATH",
    help="A Unix socket to listen on, in place of host and port.",
)
@click.option("--access-log", is_flag=True, help="Log each request.")
@click.option(
    "--log-level",
    type=click.Choice(["critical", "error", "warning", "info", "debug"]),
    default="info",
    show_default=True,
    help="What the server logs of itself.",
)
@click.option(
    "--reload",
    is_flag=True,
    help="Load the app anew when a file below the current directory changes; for development.",
)
@click.option(
    "--no-jobs", is_flag=True, help="Start no worker for the app's jobs beside its processes."
)
@pass_script_info
def serve(
    info: ScriptInfo,
    host: str,
    port: int,
    workers: int,
    threads: int,
    graceful_timeout: int,
    asgi: bool | None,
    uds: str | None,
    access_log: bool,
    log_level: str,
    reload: bool,
    no_jobs: bool,
) -> None:
    """Serve the app on granian, until SIGTERM or Ctrl-C.

    Failed workers are replaced, requests in flight are finished before the server stops, and
    SIGHUP replaces the workers with ones that load the app anew.
    """
    try:
        from flask_concurrency.cli.granian_server import become_server
    except ImportError:
        raise click.ClickException(
            'Serving needs granian, which is not installed: pip install "Flask-Concurrency[serve]"'
        ) from None
    app = load(info)  # an app that fails to load fails here, not in worker after worker
    if asgi:
        asgi_app_of(app)
    choice = choose(app, state_of(app), asgi)
    address = free_address(host, port) if uds is None else Address(host, port)
    jobs = jobs_of(app)
    options = ServerOptions(
        address.host,
        address.port,
        workers,
        threads,
        graceful_timeout,
        import_path(info),
        choice.asgi,
        uds=None if uds is None else os.path.abspath(uds),
        access_log=access_log,
        log_level=log_level,
        reload=os.getcwd() if reload else None,
        runs_jobs=not no_jobs and jobs is not None and bool(jobs.declared) and jobs.engine is None,
    )
    click.echo(_start_message(app, address, options, choice))
    become_server(options)


def _start_message(app: Flask, address: Address, options: ServerOptions, choice: Choice) -> str:
    state = state_of(app)
    threads = _number(options.threads, "thread")
    how = (
        f"{_number(options.workers, 'process')} of "
        f"{f'one event loop and {threads}' if options.asgi else threads}. "
        f"Ctrl-C stops; requests in flight then get {options.graceful_timeout} s to finish."
    )
    where = f"http://{address}" if options.uds is None else f"unix:{options.uds}"
    by = f"By {'ASGI' if options.asgi else 'WSGI'}, {choice.because}"
    beside = ", with 'asgi = concurrency.asgi_app(app)' beside the app" if options.asgi else ""
    return "\n\n".join(
        [
            f"Serving {app.name!r} on {where}\n{paragraph(how)}\n{paragraph(by)}",
            paragraph(not_served(app)) if state is None else _limits(app, state, options.workers),
            *_jobs(app, options),
            f"The same on gunicorn{beside}:\n  {_gunicorn(app, address, options)}",
        ]
    )


def _jobs(app: Flask, options: ServerOptions) -> list[str]:
    jobs = jobs_of(app)
    if jobs is None or not jobs.declared:
        return []
    runs = "One worker beside the server runs them."
    if jobs.engine is not None:
        runs = "The workers of what carries them run them."
    elif not options.runs_jobs:
        runs = "To run them: flask concurrency worker."
    names = ", ".join(sorted(jobs.declared))
    return [f"{paragraph(f'Jobs: {names}. {runs}')}\n  Kept in {jobs.url_of_ledger(app)}"]


def _limits(app: Flask, state: AppState, workers: int) -> str:
    if not state.settings.enabled:
        return "CONCURRENCY_ENABLED is False: nothing is limited."
    routes = [route for route in list_routes(app, state) if route.path is not None]
    limited = [route for route in routes if route.explanation.applying]
    told = [route for route in routes if route.explanation.limits or route.explanation.exempt]
    rows = [
        ("app", _written(state.settings.app_limits, "together for all routes")),
        ("default", _written(state.settings.default_limits, "for each route by itself")),
        *((route.title, in_short(route.explanation)) for route in told[:SHOWN_ROUTES]),
    ]
    if len(told) > SHOWN_ROUTES:
        rows.append((f"and {len(told) - SHOWN_ROUTES} more", "flask concurrency explain"))
    return "\n".join(
        [
            layout([(f"Limits ({len(limited)} of {len(routes)} routes)", rows)]),
            paragraph(_counts(store_location(state.store_uri), workers), indent=2),
            *(paragraph(f"Warning: {found}") for found in state.declarations.unreached()),
        ]
    )


def _written(declared: tuple[Declaration, ...], reach: str) -> str:
    limits = [limit.text for each in declared for limit in each.limits]
    return f"{'; '.join(limits)} ({reach})" if limits else "none"


def _counts(store: str, workers: int) -> str:
    if store == "memory://" and workers > 1:
        return (
            f"Counts live in {store}: each of the {workers} processes counts by itself, so clients "
            f"may get up to {workers} times as much. For exact counts use a store they share, such "
            "as host://, or --workers 1."
        )
    return f"Counts live in {store}."


def _gunicorn(app: Flask, address: Address, options: ServerOptions) -> str:
    target, directory = gunicorn_target(app, options.import_path)
    chdir = [] if os.path.samefile(directory, os.getcwd()) else ["--chdir", directory]
    bind = str(address) if options.uds is None else f"unix:{options.uds}"
    kind, threads, told = "gthread", ["--threads", str(options.threads)], SERVED_WITH
    if options.asgi:
        kind, threads, told, target = "asgi", [], POOL, f"{target.partition(':')[0]}:asgi"
    return shlex.join(
        [
            *("gunicorn", "--bind", bind, "--worker-class", kind),
            *("--workers", str(options.workers), *threads),
            *("--graceful-timeout", str(options.graceful_timeout)),
            *("--env", f"{told}={options.threads}", *chdir, target),
        ]
    )


def _number(count: int, of: str) -> str:
    plural = f"{of}es" if of.endswith("s") else f"{of}s"
    return f"{count} {of if count == 1 else plural}"
