"""Log background work that failed, because no caller waits for it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.executors")


def log_failure(executor: str, name: str, future: Future[Any]) -> None:
    """Log how a background task failed, if it did, since no caller may ever ask."""
    if not future.cancelled() and (error := future.exception()) is not None:
        logger.error("Background task %r of %r failed", name, executor, exc_info=error)
