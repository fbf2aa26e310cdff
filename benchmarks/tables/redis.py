"""Measure what limits on a Redis server add to a request, with header fields on both sides.

Every subject starts a server of its own, on a port of loopback, so that none finds the other's keys
or scripts. How many round trips a request took is told when a subject ends, by the server's own
count.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject, Trial
from benchmarks.tables.added import in_turn
from benchmarks.tables.rates import BARE, bare, hello
from benchmarks.wsgi_call import CLIENTS, requests_to

if TYPE_CHECKING:
    from flask import Flask

ROUTE = ("100000000/day", "10000000/hour", "1000000/minute")
WHOLE_APP = "1000000000/day"
STARTS_WITHIN = 20.0


def ours(url: str, *, app_limit: bool, algorithm: str) -> Flask:
    """Three rates on the route, and one of the whole app."""
    from flask import Flask

    from flask_concurrency import Concurrency, Rate

    app = Flask("ours")
    concurrency = Concurrency(app, store=url, app_limits=WHOLE_APP if app_limit else None)
    rates = [Rate(limit, algorithm=algorithm) for limit in ROUTE]  # type: ignore[arg-type]
    app.get("/")(concurrency.limit(*rates)(hello))
    return app


def flask_limiter(url: str, *, app_limit: bool, algorithm: str) -> Flask:
    """The same; ``fixed-window`` is its default, and its cheapest."""
    from flask import Flask
    from flask_limiter import Limiter
    from flask_limiter.util import get_remote_address

    app = Flask("flask_limiter")
    limiter = Limiter(
        get_remote_address,
        app=app,
        storage_uri=url,
        strategy=algorithm,
        headers_enabled=True,
        application_limits=[WHOLE_APP] if app_limit else [],
    )
    app.get("/")(limiter.limit("; ".join(ROUTE))(hello))
    return app


class RedisProcess:
    """A server without anything on disk, on a port of loopback; it stops at the end of the block.

    :ivar url: Where it listens, also after it was stopped and started again.
    :ivar process: What runs now.
    """

    def __init__(self) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            raise RuntimeError("no redis-server on PATH: run scripts/install --redis")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._home = tempfile.TemporaryDirectory()
        self._command = [program, "--port", str(self._port), "--bind", "127.0.0.1"]
        self._command += ["--dir", self._home.name, "--save", "", "--appendonly", "no"]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        """Start it, empty, and wait until it listens."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        _wait_for(self._port)

    def stop(self) -> None:
        """Stop it, even if it hangs."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait()

    def __enter__(self) -> RedisProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._home.cleanup()


def _wait_for(port: int) -> None:
    give_up_at = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < give_up_at:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        time.sleep(0.01)
    raise RuntimeError(f"no server on port {port}")


@contextmanager
def requested(name: str, make_app: Callable[[str], Flask]) -> Iterator[Call]:
    """Requests that every limit lets in."""
    with RedisProcess() as server:
        url = server.url
        call = requests_to(make_app(url))
        requests = 0

        def counted() -> None:
            nonlocal requests
            requests += 1
            call()

        counted()  # connects, and sends the scripts
        before, requests = _trips(url), 0
        yield counted
        if requests:
            trips = (_trips(url) - before) / requests
            print(f"{name}: {trips:.2f} round trips a request", file=sys.stderr)


def _trips(url: str) -> int:
    """How often the server read something from its clients."""
    import redis

    client = redis.Redis.from_url(url)
    trips: int = client.info("stats")["total_reads_processed"]
    client.close()
    return trips


@contextmanager
def without() -> Iterator[Call]:
    """The view and nothing else."""
    yield requests_to(bare())


def _subject(name: str, make_app: Callable[..., Flask], app_limit: bool, algorithm: str) -> Subject:
    make = partial(make_app, app_limit=app_limit, algorithm=algorithm)
    return Subject(name, partial(requested, name, make))


def _benchmark(limits: int) -> Benchmark:
    app_limit = limits == 4
    return Benchmark(
        name=f"redis-{limits}",
        title=f"what {limits} limits on a Redis server add to a request, over a bare Flask view",
        base=BARE,
        subjects=(
            Subject(BARE, without),
            _subject("ours, sliding", ours, app_limit, "sliding-window"),
            _subject("ours, fixed", ours, app_limit, "fixed-window"),
            _subject("Flask-Limiter, sliding", flask_limiter, app_limit, "sliding-window-counter"),
            _subject("Flask-Limiter, fixed", flask_limiter, app_limit, "fixed-window"),
        ),
        comparisons=(
            Comparison("sliding windows", "ours, sliding", "Flask-Limiter, sliding", BARE, 1 / 4),
            Comparison("fixed windows", "ours, fixed", "Flask-Limiter, fixed", BARE, 1 / 4),
            Comparison("each side's default", "ours, sliding", "Flask-Limiter, fixed", BARE, 1 / 4),
        ),
    )


def measure_parts(quick: bool) -> list[list[str]]:
    """One trip with three sliding windows, and the least that any trip takes."""
    import redis

    from flask_concurrency import Rate
    from flask_concurrency.policies.policy import policy_for
    from flask_concurrency.stores.redis.redis_store import RedisStore
    from flask_concurrency.stores.store import CheckTemplates

    templates = CheckTemplates(tuple((rate, policy_for(Rate(rate)), 1, False) for rate in ROUTE))
    keys = cycle([f"198.51.100.{number}" for number in range(CLIENTS)])
    with RedisProcess() as server, redis.Redis.from_url(server.url) as client:
        store = RedisStore(server.url)
        sha = client.script_load("return 1")
        address = server.url.removeprefix("redis://").removesuffix("/0").split(":")
        plain = socket.create_connection((address[0], int(address[1])))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        trivial = b"*3\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$1\r\n0\r\n" % sha.encode()
        for _ in range(CLIENTS):
            store.take_for(next(keys), templates)
        packed = [store._packed[templates].of(next(keys), "") for _ in range(CLIENTS)]
        written = cycle(packed)

        def sent(command: bytes) -> None:
            plain.sendall(command)
            plain.recv(4_096)

        try:
            told = in_turn(
                {
                    "a script that does nothing, by a socket alone": lambda: sent(trivial),
                    "… by redis-py": lambda: client.execute_command("EVALSHA", sha, 0),
                    "three windows, by a socket alone": lambda: sent(next(written)),
                    "… by our store": lambda: store.take_for(next(keys), templates),
                    "… by our store, check by check": lambda: store.take(templates.of(next(keys))),
                },
                quick,
            )
        finally:
            plain.close()
            store.close()
    return [["", "µs a trip"], *([name, f"{each:.1f}"] for name, each in told.items())]


BENCHMARKS = (_benchmark(3), _benchmark(4))

TRIALS = (
    Trial(
        "redis-parts",
        "one trip to a Redis server, without any request, and the least that one takes",
        measure_parts,
    ),
)
