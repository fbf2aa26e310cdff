"""Decide how what a task logs reaches the loggers of the owner. Knows no task and no pool.

All workers of a launcher send to one socket that keeps messages apart, beside the channels of the
tasks. A message is taken whole or not at all, so a worker may be killed at any time. Which records
are made is decided by the levels that the owner's loggers had when the worker started; what becomes
of them, by the owner's handlers: a worker has none of its own, so each record is logged once.
"""

from __future__ import annotations

import logging
import pickle
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.processes")

LONGEST: Final = 32_768
"""Characters of a message beyond which it is cut."""
TIMEOUT: Final = 1.0
"""Seconds that a task waits for an owner that does not read; then its record is lost."""
_AT_A_TIME: Final = 100

Levels = Mapping[str | None, int]


def make_relay() -> tuple[socket.socket, socket.socket] | None:
    """Make the owner's end and the workers'; ``None`` where there is no such thing (Windows)."""
    kind = getattr(socket, "SOCK_SEQPACKET", None)
    family = getattr(socket, "AF_UNIX", None)
    if kind is None or family is None:
        return None
    try:
        ours, theirs = socket.socketpair(family, kind)
    except OSError:
        return None
    ours.setblocking(False)
    return ours, theirs


def levels_here() -> dict[str | None, int]:
    """Return the levels that were set in this process; the root logger's stands under ``None``."""
    loggers = logging.root.manager.loggerDict
    found: dict[str | None, int] = {
        name: logger.level
        for name, logger in tuple(loggers.items())
        if isinstance(logger, logging.Logger) and logger.level
    }
    found[None] = logging.root.level
    return found


class RelayHandler(logging.Handler):
    """Sends records to the owner.

    :ivar worker: Stands in the records as the name of the process.
    """

    def __init__(self, end: socket.socket) -> None:
        super().__init__()
        end.settimeout(TIMEOUT)
        self._end = end
        self.worker = "worker"

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; an owner that is gone, or does not read, loses it."""
        try:
            with suppress(OSError):
                self._end.send(self._encode(record))
        except Exception:
            self.handleError(record)

    def take_over(self, levels: Levels) -> None:
        """Be the only handler of this process, which logs what its owner would."""
        for logger in tuple(logging.root.manager.loggerDict.values()):
            if isinstance(logger, logging.Logger):
                logger.handlers.clear()
                logger.propagate = True
        logging.root.handlers[:] = [self]
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

    def _encode(self, record: logging.LogRecord) -> bytes:
        said = self.format(record)  # with the traceback, if there is one
        plain: dict[str, Any] = {
            **record.__dict__,
            "msg": said[:LONGEST],
            "args": None,
            "exc_info": None,
            "exc_text": None,
            "stack_info": None,
            "processName": self.worker,
        }
        usual = logging.makeLogRecord({}).__dict__
        extras = b""
        with suppress(Exception):  # what an application adds to its records
            added = {name: value for name, value in plain.items() if name not in usual}
            extras = pickle.dumps(added, pickle.HIGHEST_PROTOCOL) if added else b""
        kept = {name: value for name, value in plain.items() if name in usual}
        if len(extras) > 2 * LONGEST:  # with the text, more than a socket takes at once
            extras = b""
        return pickle.dumps((kept, extras), pickle.HIGHEST_PROTOCOL)


def relay_records(end: socket.socket) -> None:
    """Give what workers have logged to the loggers of this process."""
    for _ in range(_AT_A_TIME):
        try:
            message = end.recv(8 * LONGEST)
        except OSError:  # nothing more
            return
        if not message:
            return
        try:
            _log_here(*pickle.loads(message))
        except Exception:  # whatever an application does in its filters and handlers
            logger.exception("What a task has logged could not be logged here")


def _log_here(said: dict[str, Any], extras: bytes) -> None:
    if extras:
        with suppress(Exception):  # whatever an application does when they are rebuilt
            said.update(pickle.loads(extras))
    record = logging.makeLogRecord(said)
    target = logging.getLogger(record.name)
    if target.isEnabledFor(record.levelno):
        target.handle(record)
