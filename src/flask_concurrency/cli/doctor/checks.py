"""Look for what is wrong with a deployment: one function a fault. Reads facts; prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from werkzeug.middleware.proxy_fix import ProxyFix

from flask_concurrency.cli.doctor.facts import ADDRESS, Facts, middleware
from flask_concurrency.cli.doctor.finding import Finding
from flask_concurrency.cli.doctor.running import more_processes_than_said, refused_at_a_proxy
from flask_concurrency.flask_app.jobs.app_jobs import jobs_of
from flask_concurrency.jobs.opening import SQLITE
from flask_concurrency.vocabulary.errors import ConfigurationError, JobsUnavailable

MOST_THREADS: Final = 16
"""Threads of granian with which an adaptive limit sees what waits. Measured at three times the
capacity: with 64 up to 26 late answers a second, with 16 three or four."""

KEEPS_IDLE: Final = {"Heroku": 90.0, "Amazon ECS": 60.0, "Kubernetes": 60.0}
"""Seconds for which the proxy of a platform keeps an idle connection: Heroku's router, Amazon's
load balancer, nginx's ingress, each as it comes."""

KEEP_ALIVE: Final = {
    "gunicorn": "--keep-alive",
    "uvicorn": "--timeout-keep-alive",
    "hypercorn": "--keep-alive",
    "waitress": "--channel-timeout",
}
"""Where a server is told how long it keeps one."""


def threads_for_limits(facts: Facts) -> Iterator[Finding]:
    """Requests that are inside or wait must leave threads that refuse and answer health checks."""
    at_once = None if facts.server is None else facts.server.at_once
    if at_once is None:
        return
    seen = set()
    for route, limit in facts.limits():
        if limit.period is not None or limit.quota is None or limit.name in seen:
            continue
        seen.add(limit.name)
        threads = at_once if limit.scope is None else facts.server.threads or 1  # type: ignore[union-attr]
        if limit.quota >= threads:
            yield Finding(
                "threads-for-limits",
                "error",
                f"{limit.name!r} on {route.title} lets {limit.quota} requests in, and the server "
                f"runs {threads} at once.",
                "So the limit never refuses: requests wait in the server's own queue, where no "
                "limit and no deadline sees them, and nothing answers health checks.",
                f"Start more threads than {limit.quota} (--threads), or lower the limit below "
                f"{threads}.",
            )


def timeout_kills_before_deadline(facts: Facts) -> Iterator[Finding]:
    """A server that kills its worker first sends no 504 and takes its neighbours along."""
    server = facts.server
    if server is None or server.server != "gunicorn" or server.timeout is None:
        return
    if server.worker_class != "sync":
        return  # there it is a sign of life of the worker, and not the time of a request
    late = [r for r in facts.routes if (r.explanation.deadline or 0) >= server.timeout]
    if late:
        longest = max(late, key=lambda route: route.explanation.deadline or 0)
        deadline = longest.explanation.deadline
        yield Finding(
            "timeout-before-deadline",
            "error",
            f"gunicorn's --timeout is {server.timeout:g} s, and {longest.title} may take "
            f"{deadline:g} s.",
            "gunicorn kills a sync worker at its timeout: the client gets a closed connection in "
            "place of a 504, and tasks are cut off.",
            f"--timeout {(deadline or 0) + 5:g}",
        )


def proxy_not_trusted(facts: Facts) -> Iterator[Finding]:
    """Behind a proxy that is not trusted all clients are one."""
    if facts.platform is None or any(isinstance(m, ProxyFix) for m in middleware(facts.app)):
        return
    counted = sorted({limit.name for _, limit in facts.limits() if limit.key == ADDRESS})
    if counted:
        yield Finding(
            "proxy-not-trusted",
            "error",
            f"This runs on {facts.platform}, behind its proxy, and the app trusts none: "
            f"{', '.join(map(repr, counted))} counts by the proxy's address.",
            "All clients share one count: a few of them use it up for all.",
            "app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)   # before Concurrency(app)",
        )


def proxy_trusted_too_far(facts: Facts) -> Iterator[Finding]:
    """Trust in a hop that is not there lets clients choose their address."""
    for around in middleware(facts.app):
        if isinstance(around, ProxyFix) and around.x_for > 1:
            yield Finding(
                "proxy-trusted-too-far",
                "warning",
                f"ProxyFix trusts {around.x_for} proxies (x_for={around.x_for}).",
                "If there are fewer, a client writes its own address into X-Forwarded-For, and "
                "no limit by address holds.",
                "ProxyFix(app.wsgi_app, x_for=1)   # the number of your own proxies",
            )
    server = facts.server
    if server is not None and "*" in server.forwarded_allow_ips and server.server == "gunicorn":
        yield Finding(
            "proxy-trusted-too-far",
            "warning",
            "gunicorn believes X-Forwarded-* of every address (forwarded_allow_ips='*').",
            "A client that reaches the port itself says that it came by https, or from elsewhere.",
            'forwarded_allow_ips = "10.0.0.5"   # the address of your proxy',
        )


def keep_alive_too_short(facts: Facts) -> Iterator[Finding]:
    """Of two ends that close an idle connection, the proxy must be the first."""
    server = facts.server
    idle = KEEPS_IDLE.get(facts.platform or "")
    if server is None or idle is None or server.keep_alive is None:
        return
    if 0 < server.keep_alive <= idle and server.worker_class != "sync":
        yield Finding(
            "keep-alive-too-short",
            "warning",
            f"{server.server} closes a connection that is idle for {server.keep_alive:g} s, and "
            f"the proxy of {facts.platform} keeps one for {idle:g} s.",
            "Now and then the proxy sends a request down a connection that is being closed: its "
            "client gets a 502, and no log of the app knows of it.",
            f"{KEEP_ALIVE[server.server]} {idle + 5:g}",
        )


def drain_missing(facts: Facts) -> Iterator[Finding]:
    """Long connections end at a deploy only if the app gets the signal."""
    server = facts.server
    if server is None:
        return
    long_lived = [route.title for route in facts.routes if getattr(route.rule, "websocket", False)]
    if server.server == "gunicorn" and long_lived and not server.watches_signals:
        yield Finding(
            "drain-missing",
            "error",
            f"{long_lived[0]} keeps connections open, and gunicorn's configuration does not tell "
            "the app of SIGTERM.",
            f"Each deploy waits {server.graceful_timeout:g} s for them and cuts them off then.",
            "def post_worker_init(worker):   # in gunicorn.conf.py\n"
            "    from flask_concurrency import watch_signals\n"
            "    watch_signals()",
        )
    if server.graceful_timeout < facts.settings.drain_timeout:
        yield Finding(
            "drain-too-short",
            "warning",
            f"The server ends {server.graceful_timeout:g} s after SIGTERM, and "
            f"CONCURRENCY_DRAIN_TIMEOUT lets tasks go on for {facts.settings.drain_timeout:g} s.",
            "Tasks that were accepted are cut off at a deploy.",
            f"--graceful-timeout {facts.settings.drain_timeout + 5:g}, or "
            f"CONCURRENCY_DRAIN_TIMEOUT = {max(1.0, server.graceful_timeout - 5):g}",
        )


def store_is_too_small(facts: Facts) -> Iterator[Finding]:
    """Counts that not all processes share are multiplied by their number."""
    workers = 1 if facts.server is None else facts.server.workers
    if all(limit.answer_within is not None for _, limit in facts.limits()):
        return  # adaptive limits count by process, since each has its own interpreter
    if facts.store_uri == "memory://" and workers > 1:
        yield Finding(
            "store-of-one-process",
            "error",
            f"The store is memory://, and the server starts {workers} workers.",
            f"Each worker counts by itself: a limit admits {workers} times what it says.",
            'CONCURRENCY_STORE = "host://"   # or leave it out',
        )
    elif facts.store_uri.startswith("host:") and facts.platform is not None:
        yield Finding(
            "store-of-one-host",
            "warning",
            f"The store is {facts.store_uri}, and {facts.platform} may run the app many times.",
            "Each instance counts by itself: a limit admits what it says, times the instances.",
            'CONCURRENCY_STORE = "redis://…"   # fine as it is with one instance',
        )


def store_fails_open(facts: Facts) -> Iterator[Finding]:
    """A store that lets everything in while it is out protects nothing then."""
    if facts.settings.on_store_failure == "admit":
        yield Finding(
            "store-fails-open",
            "warning",
            'CONCURRENCY_ON_STORE_FAILURE is "admit".',
            "While the store is out no limit applies, those of logins included.",
            'CONCURRENCY_ON_STORE_FAILURE = "local"   # each process counts meanwhile',
        )


def queue_out_of_sight(facts: Facts) -> Iterator[Finding]:
    """An adaptive limit must see the queue, and its refusals must reach the client."""
    server = facts.server
    adaptive = [limit for _, limit in facts.limits() if limit.answer_within is not None]
    if server is None or not adaptive:
        return
    name, threads = adaptive[0].name, server.threads or 1
    if server.server in ("granian", "serve") and threads > MOST_THREADS:
        yield Finding(
            "queue-out-of-sight",
            "warning",
            f"{name!r} stands before {threads} threads of granian.",
            "Under overload requests leave the queue and wait for the interpreter, where their age "
            "is not seen: some are answered late.",
            f"--threads {MOST_THREADS}   # --blocking-threads for granian itself",
        )


def streams_on_sync_workers(facts: Facts) -> Iterator[Finding]:
    """A worker that serves one request at a time is held by one stream."""
    server = facts.server
    if server is None or server.worker_class != "sync":
        return
    held = [route.title for route in facts.routes if getattr(route.rule, "websocket", False)]
    if held:
        yield Finding(
            "stream-holds-worker",
            "error",
            f"{held[0]} keeps a connection open, and gunicorn's sync workers serve one at a time.",
            f"{server.workers} clients occupy all workers.",
            "--worker-class gthread --threads 50",
        )


def threads_at_import(facts: Facts) -> Iterator[Finding]:
    """What an import starts is in the parent of forked workers, and not in them."""
    if facts.threads:
        yield Finding(
            "threads-at-import",
            "warning",
            f"Importing the app starts threads: {', '.join(map(repr, facts.threads))}.",
            "Worker processes are forked from a process that has imported the app: such a thread "
            "does not exist there, its locks may be held for ever, and a scheduler runs twice.",
            "Start it in the server alone, such as at the first request, and not at import.",
        )


def left_over_keys(facts: Facts) -> Iterator[Finding]:
    """Configuration of another extension does nothing here."""
    for prefix, what in (("RATELIMIT_", "Flask-Limiter"), ("EXECUTOR_", "Flask-Executor")):
        found = sorted(key for key in facts.app.config if key.startswith(prefix))
        extension = {"RATELIMIT_": "limiter", "EXECUTOR_": "executor"}[prefix]
        if found and extension not in facts.app.extensions:
            yield Finding(
                "left-over-keys",
                "warning",
                f"{', '.join(found)}: keys of {what}, which this app does not use.",
                "Flask-Concurrency does not read them: what they say does not apply.",
                "CONCURRENCY_DEFAULT_LIMITS and its kin; see the page on migrating.",
            )


def never_refuses(facts: Facts) -> Iterator[Finding]:
    """A limit behind a tighter one of the same client can never be the one that refuses."""
    for route, limit in facts.limits():
        if limit.hidden_by is not None:
            yield Finding(
                "never-refuses",
                "warning",
                f"{limit.name!r} on {route.title} can never refuse: {limit.hidden_by!r} applies "
                "there as well and refuses first.",
                "Limits add up: a route's own does not replace the wider ones.",
                f'@concurrency.limit("{limit.limit}", replace=True)',
            )


def debug_or_testing(facts: Facts) -> Iterator[Finding]:
    """A test's or a developer's settings behind a real server."""
    if facts.server is not None and facts.app.testing:
        yield Finding(
            "testing-in-production",
            "error",
            "TESTING is True.",
            "Counts live in each process alone, and errors of views reach the server.",
            "TESTING = False",
        )


def jobs_of_one_host(facts: Facts) -> Iterator[Finding]:
    """A file of jobs is for one machine that keeps its disk."""
    jobs, platform = jobs_of(facts.app), facts.platform
    if jobs is None or not jobs.declared or platform is None:
        return
    url = jobs.url_of_ledger(facts.app)
    if url.startswith(SQLITE):
        yield Finding(
            "jobs-of-one-host",
            "error",
            f"Jobs are kept in {url}, and {platform} runs an app on machines that come and go.",
            "A job that one machine accepted is unknown to the next one, and gone with its disk.",
            'CONCURRENCY_JOBS = {"ledger": "redis://..."}',
        )


def jobs_without_worker(facts: Facts) -> Iterator[Finding]:
    """Jobs that wait for a worker that was never started; only a file that is there is read."""
    jobs = jobs_of(facts.app)
    if jobs is None or not jobs.declared or jobs.engine is not None:
        return
    url = jobs.url_of_ledger(facts.app)
    if not url.startswith(SQLITE) or not Path(url.removeprefix(SQLITE)).exists():
        return
    try:
        waiting = jobs.ledger.counts().queued
        alive = jobs.ledger.workers()
    except JobsUnavailable:
        return
    finally:
        jobs.ledger.close()
    if waiting and not alive:
        yield Finding(
            "jobs-without-worker",
            "warning",
            f"{waiting} {'job waits' if waiting == 1 else 'jobs wait'}, and no worker is alive.",
            "They are kept, and nothing runs them.",
            f"flask --app {facts.app.name} concurrency worker",
        )


def jobs_on_a_server_that_forgets(facts: Facts) -> Iterator[Finding]:
    """A Redis that may lose accepted jobs; it is asked, and has two seconds to answer."""
    jobs = jobs_of(facts.app)
    if jobs is None or not jobs.declared or jobs.url_of_ledger(facts.app).startswith(SQLITE):
        return
    kept = "Nothing is accepted meanwhile: submits are answered 503."
    try:
        jobs.ledger.check()
    except ConfigurationError as error:
        what, _, remedy = str(error).partition(" Set ")
        setting = remedy.split("'")[1]
        yield Finding("jobs-on-a-server-that-forgets", "error", what, kept, setting)
    except JobsUnavailable as error:
        yield Finding("jobs-out-of-reach", "warning", str(error), kept, "redis-cli ping")
    finally:
        jobs.ledger.close()


CHECKS: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    threads_for_limits,
    timeout_kills_before_deadline,
    proxy_not_trusted,
    proxy_trusted_too_far,
    keep_alive_too_short,
    drain_missing,
    store_is_too_small,
    store_fails_open,
    queue_out_of_sight,
    streams_on_sync_workers,
    threads_at_import,
    left_over_keys,
    never_refuses,
    debug_or_testing,
    jobs_of_one_host,
    jobs_without_worker,
    jobs_on_a_server_that_forgets,
    more_processes_than_said,
    refused_at_a_proxy,
)


def examine(facts: Facts) -> list[Finding]:
    """Every finding, errors first."""
    found = [finding for check in CHECKS for finding in check(facts)]
    return sorted(found, key=lambda finding: finding.severity != "error")
