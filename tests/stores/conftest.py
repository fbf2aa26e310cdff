"""Redis servers of our own: on a socket, without anything on disk. Knows no store."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import pytest
import redis

STARTS_WITHIN = 20.0
NAMES = ("redis-server", "valkey-server")


class RedisServer:
    """A server process.

    :param options: Further options of the command line.
    :ivar url: Where it listens: a Unix socket.
    :ivar port: Where it listens, too, if a port was asked for.
    :ivar program: What was started.
    """

    def __init__(self, *options: str, port: int = 0) -> None:
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            pytest.fail("These tests need redis-server: run scripts/install --redis.")
        self._home = Path(tempfile.mkdtemp(prefix="fc-"))  # a socket's path must be short
        self._socket = self._home / "redis.sock"
        self.port = port
        self.url = f"unix://{self._socket}"
        self.program = program
        self._command = [program, "--port", str(port), "--unixsocket", str(self._socket)]
        self._command += ["--save", "", "--appendonly", "no", "--dir", str(self._home)]
        self._command += ["--bind", "127.0.0.1", *options]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers, with what its log on the disk holds."""
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        give_up_at = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < give_up_at and self._process.poll() is None:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(self._socket))
                    probe.sendall(b"PING\r\n")
                    answer = probe.recv(100)
                if answer and not answer.startswith(b"-LOADING"):
                    return
            except OSError:
                pass
            time.sleep(0.005)  # the server cannot notify us when it begins to listen
        pytest.fail(f"redis-server did not start:\n{(self._home / 'log').read_text()}")

    def kill(self) -> None:
        """End it at once, with everything it holds."""
        self.resume()
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Let it hang: the kernel accepts connections, the server never answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def client(self, **options: object) -> redis.Redis:
        """A plain client, to look at what is there."""
        return redis.Redis(unix_socket_path=str(self._socket), **options)  # type: ignore[arg-type]

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self._home)


StartRedis = Callable[..., RedisServer]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A server for all tests that leave it running; they count in namespaces of their own."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def start_redis() -> Iterator[StartRedis]:
    """Start servers that live as long as the test: ``start_redis(*options, port=0)``."""
    with ExitStack() as running:
        yield lambda *options, port=0: running.enter_context(RedisServer(*options, port=port))


_namespaces = itertools.count()


@pytest.fixture
def namespace() -> str:
    """A namespace no other test counts in."""
    return f"test-{os.getpid()}-{next(_namespaces)}"


def find_port() -> int:
    """Find a port on which no server listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Find ports on which no server listens."""
    return find_port
