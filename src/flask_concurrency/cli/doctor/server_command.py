"""Read how many processes and threads a server command starts, and how long they may take.

Knows servers' options; imports no server and starts nothing.
"""

from __future__ import annotations

import runpy
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from flask_concurrency.vocabulary.errors import ConfigurationError

GUNICORN_FILE: Final = "gunicorn.conf.py"


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """What is known of the server.

    :ivar server: ``"gunicorn"``, ``"granian"``, ``"uvicorn"``, ``"waitress"``, ``"hypercorn"``, or
        ``"serve"`` for ``flask concurrency serve``.
    :ivar source: Where this was read.
    :ivar workers: Worker processes.
    :ivar threads: Requests that one process runs at once; ``None`` where that is not bounded.
    :ivar worker_class: gunicorn's kind of workers.
    :ivar timeout: Seconds after which a worker that does not answer is killed; ``None`` for never.
    :ivar graceful_timeout: Seconds for which a worker may finish its work at the end.
    :ivar keep_alive: Seconds for which it keeps an idle connection; ``None`` where not known.
    :ivar forwarded_allow_ips: Whose ``X-Forwarded-*`` fields the server itself believes.
    :ivar watches_signals: Whether its configuration calls ``watch_signals``.
    """

    server: str
    source: str
    workers: int = 1
    threads: int | None = None
    worker_class: str = ""
    timeout: float | None = None
    graceful_timeout: float = 30.0
    keep_alive: float | None = None
    forwarded_allow_ips: str = "127.0.0.1"
    watches_signals: bool = False

    @property
    def at_once(self) -> int | None:
        """Requests that all processes together run at once; ``None`` where that is not bounded."""
        return None if self.threads is None else self.workers * self.threads


def read_server(
    command: str | None, *, directory: Path, environment: Mapping[str, str]
) -> ServerCommand | None:
    """Find out how the app is served: from a command, else from what stands in its directory.

    :param command: As it is typed, such as ``"gunicorn -w 4 shop:app"``; ``None`` to look for a
        ``Procfile``, a ``gunicorn.conf.py`` or ``GUNICORN_CMD_ARGS``.
    :raises ConfigurationError: The command names no server that is known.
    """
    source = "--server"
    if command is None:
        command, source = _procfile(directory), "Procfile"
    if command is None and (
        "GUNICORN_CMD_ARGS" in environment or (directory / GUNICORN_FILE).exists()
    ):
        command, source = "gunicorn", GUNICORN_FILE
    if command is None:
        return None
    try:
        words = [word for word in shlex.split(command) if "=" not in word or word.startswith("-")]
    except ValueError as error:
        raise ConfigurationError(f"{source}: {command!r} cannot be read: {error}.") from None
    try:
        return _read(command, source, words, directory, environment)
    except ConfigurationError:
        raise
    except ValueError as error:  # "--threads many"
        raise ConfigurationError(f"{source} {command!r}: {error}.") from None


def _read(
    command: str,
    source: str,
    words: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
) -> ServerCommand | None:
    name = next((_server(word) for word in words if _server(word) is not None), None)
    if name is None and "concurrency" in words and "serve" in words:
        name = "serve"
    if name is None:
        if source == "Procfile":
            return None
        raise ConfigurationError(
            f"{source} {command!r} names no server. Known are gunicorn, granian, uvicorn, "
            "hypercorn, waitress-serve, and flask concurrency serve."
        )
    workers = _number(environment, "WEB_CONCURRENCY", 1)
    found = ServerCommand(name, source, workers=workers)
    if name == "gunicorn":
        return _gunicorn(found, words, directory, environment)
    options = _options(words)
    return replace(
        found,
        workers=int(options.get("-w", options.get("--workers", workers))),
        threads=_threads(name, options),
        graceful_timeout=float(
            options.get("--graceful-timeout", options.get("--timeout-graceful-shutdown", 30))
        ),
        keep_alive=_keep_alive(name, options),
        forwarded_allow_ips=options.get("--forwarded-allow-ips", "127.0.0.1"),
        watches_signals=name == "serve",
    )


def _server(word: str) -> str | None:
    known = {"waitress-serve": "waitress", "gunicorn": "gunicorn", "granian": "granian"}
    known |= {"uvicorn": "uvicorn", "hypercorn": "hypercorn"}
    return known.get(word.rpartition("/")[2])


def _threads(server: str, options: Mapping[str, str]) -> int | None:
    if server == "waitress":
        return int(options.get("--threads", 4))
    if server in ("serve", "granian"):
        given = options.get("-t", options.get("--threads", options.get("--blocking-threads")))
        return None if given is None else int(given)
    return None


def _keep_alive(server: str, options: Mapping[str, str]) -> float | None:
    known = {
        "uvicorn": ("--timeout-keep-alive", 5),
        "hypercorn": ("--keep-alive", 5),
        "waitress": ("--channel-timeout", 120),
    }
    if server not in known:
        return None
    option, default = known[server]
    return float(options.get(option, default))


def _gunicorn(
    found: ServerCommand, words: Sequence[str], directory: Path, environment: Mapping[str, str]
) -> ServerCommand:
    options = {**_options(shlex.split(environment.get("GUNICORN_CMD_ARGS", ""))), **_options(words)}
    path = directory / options.get("-c", options.get("--config", GUNICORN_FILE)).removeprefix(
        "file:"
    )
    written: dict[str, Any] = {}
    text = ""
    if path.exists():
        text = path.read_text()
        try:
            written = runpy.run_path(str(path))
        except Exception as error:
            raise ConfigurationError(f"{path} cannot be run: {error!r}.") from error

    def option(name: str, short: str = "", default: Any = None) -> Any:
        long = f"--{name.replace('_', '-')}"
        return options.get(short, options.get(long, written.get(name, default)))

    threads = int(option("threads", default=1))
    kind = str(option("worker_class", "-k", "sync"))
    if kind == "sync" and threads > 1:
        kind = "gthread"  # as gunicorn does itself
    bounded = {"sync": 1, "gthread": threads}
    timeout = float(option("timeout", "-t", 30))
    return replace(
        found,
        workers=int(option("workers", "-w", found.workers)),
        threads=bounded.get(kind),
        worker_class=kind,
        timeout=timeout or None,
        graceful_timeout=float(option("graceful_timeout", default=30)),
        keep_alive=float(options.get("--keep-alive", written.get("keepalive", 2))),
        forwarded_allow_ips=str(option("forwarded_allow_ips", default="127.0.0.1,::1")),
        watches_signals="watch_signals" in text,
    )


def _options(words: Sequence[str]) -> dict[str, str]:
    """Options and their values: ``-w 4``, ``-w4``, ``--workers 4`` and ``--workers=4``."""
    found: dict[str, str] = {}
    for number, word in enumerate(words):
        following = words[number + 1] if number + 1 < len(words) else ""
        if word.startswith("--") and "=" in word:
            option, _, value = word.partition("=")
            found[option] = value
        elif word.startswith("--") or (word.startswith("-") and len(word) == 2):
            found[word] = "" if following.startswith("-") else following
        elif word.startswith("-") and len(word) > 2:
            found[word[:2]] = word[2:].removeprefix("=")
    return found


def _procfile(directory: Path) -> str | None:
    path = directory / "Procfile"
    if not path.exists():
        return None
    for line in path.read_text().splitlines():
        kind, colon, command = line.partition(":")
        if kind.strip() == "web" and colon:
            return command.strip()
    return None


def _number(environment: Mapping[str, str], variable: str, default: int) -> int:
    try:
        return int(environment.get(variable, default))
    except ValueError:
        raise ConfigurationError(
            f"The environment says {variable}={environment[variable]!r}: give a whole number."
        ) from None
