"""Refuse a cost that would give units instead of spending them. Knows no policy's state."""

from __future__ import annotations

from typing import NoReturn

from flask_concurrency.vocabulary.errors import ConfigurationError


def refuse_negative(cost: int) -> NoReturn:
    """Say that a negative cost cannot be spent.

    :raises ConfigurationError: Always: it would hand out units that were never there.
    """
    raise ConfigurationError(f"A cost of {cost} units cannot be spent; give at least 0.")
