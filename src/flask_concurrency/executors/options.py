"""Check the options that thread and process executors share. Starts nothing."""

from __future__ import annotations

from math import inf
from typing import Literal

from flask_concurrency.vocabulary.errors import ConfigurationError

WhenFull = Literal["refuse", "wait"]


def require_seconds(option: str, value: object, *, instead: str) -> None:
    """Check a duration.

    :raises ConfigurationError: ``value`` is no number of seconds from 0 on.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
        raise ConfigurationError(
            f"{option}={value!r} is no number of seconds, 0 or more. Give one, or {instead}."
        )


def _require_int(option: str, value: object, *, at_least: int, instead: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ConfigurationError(
            f"{option}={value!r} is no whole number of {at_least} or more. Give one, or {instead}."
        )
