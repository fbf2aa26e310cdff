"""Decide which options that all executors have are valid. Starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

from flask_concurrency.vocabulary.errors import ConfigurationError

WhenFull = Literal["refuse", "wait"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorOptions:
    """Options of an executor, which check themselves.

    :raises ConfigurationError: One is wrong; the message names it, its value and the remedy.
    """

    max_workers: int
    max_queue: int | None
    when_full: WhenFull
    drain_timeout: float | None
    name: str

    def __post_init__(self) -> None:
        require_int("max_workers", self.max_workers, at_least=1, instead="None for the default")
        if self.max_queue is not None:
            require_int("max_queue", self.max_queue, at_least=0, instead="None for no bound")
        if self.when_full not in get_args(WhenFull):
            raise ConfigurationError(
                f"when_full={self.when_full!r} is unknown. "
                "Write 'refuse' to raise QueueFull at once, or 'wait' to wait for a place."
            )
        if self.drain_timeout is not None:
            require_seconds("drain_timeout", self.drain_timeout, instead="None to wait for all")
        if not isinstance(self.name, str) or not self.name:
            raise ConfigurationError(f"name={self.name!r} is no name. Give a text like 'reports'.")


def require_seconds(option: str, value: object, *, instead: str, above_0: bool = False) -> None:
    """Check a duration.

    :param above_0: It must be more than 0.
    :raises ConfigurationError: ``value`` is no number of seconds from 0 on.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < inf or (above_0 and not value):  # type: ignore[operator]
        bound = "above 0" if above_0 else "0 or more"
        raise ConfigurationError(
            f"{option}={value!r} is no number of seconds, {bound}. Give one, or {instead}."
        )


def require_int(option: str, value: object, *, at_least: int, instead: str) -> None:
    """Check a count. ``True`` is an ``int`` to Python and a mistake here.

    :raises ConfigurationError: ``value`` is no whole number from ``at_least`` on.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ConfigurationError(
            f"{option}={value!r} is no whole number of {at_least} or more. Give one, or {instead}."
        )
