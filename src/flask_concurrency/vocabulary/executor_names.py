"""Say what an executor may be called, and what its name may stand for. Knows no executor."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from flask_concurrency.vocabulary.errors import ConfigurationError

Meaning = str | Executor | Callable[[], Executor]
"""What a name may stand for: another name, an executor, or a function that makes one."""

RESERVED: Final = ("threads", "processes", "loop")


def check_meaning(name: object, meaning: object) -> None:
    """Refuse what cannot be an executor's name, or what it stands for.

    :raises ConfigurationError: Naming it and the remedy.
    """
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"An executor's name is a text such as 'reports', not {name!r}.")
    if name in RESERVED:
        raise ConfigurationError(f"{name!r} is the app's own. Choose another name.")
    if isinstance(meaning, str | Executor) or callable(meaning):
        return
    raise ConfigurationError(
        f"Executor {name!r} = {meaning!r}: give a concurrent.futures.Executor, a function "
        "that makes one, or another executor's name."
    )
