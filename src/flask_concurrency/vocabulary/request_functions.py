"""Refuse, where it is written, a function that could not be asked in a request.

Knows how functions are called and what an answer may be; knows no limit and no Flask.
"""

from __future__ import annotations

import inspect
from typing import Any

from flask_concurrency.vocabulary.errors import ConfigurationError

RESPONSE = "response"
"""What ``charge_when`` is called with."""

NO = frozenset({"false", "no", "off", "0", "none", "null"})
"""Texts, as of the environment, that say no and are true."""


def check_function(option: str, value: Any, *parameters: str) -> Any:
    """Refuse what cannot be asked in each request.

    :param option: What it is given as, such as ``"key"``.
    :param value: The function.
    :param parameters: The names of what it is called with.
    :raises ConfigurationError: It is no function, a coroutine function, a generator function, a
        proxy of an object, or takes other arguments.
    """
    written = f"{option}={value!r}" if "LocalProxy" not in type(value).__name__ else option
    if "LocalProxy" in type(value).__name__:
        raise ConfigurationError(
            f"{written} is a proxy of an object of the request, not a function: write a function "
            f"that reads it, as in {option}=lambda: current_user.get_id()."
        )
    if not callable(value):
        raise ConfigurationError(f"{written}: give a function that is asked in each request.")
    if _is(inspect.iscoroutinefunction, value) or _is(inspect.isasyncgenfunction, value):
        raise ConfigurationError(
            f"{written} is an async function, and limits are decided without waiting for one: "
            "give a plain function. What must be awaited can be found by an async before_request "
            'hook and read from flask.g, with at="view".'
        )
    if _is(inspect.isgeneratorfunction, value):
        raise ConfigurationError(
            f"{written} is a generator function, which answers nothing by itself: return a value "
            "instead of yielding it."
        )
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # a builtin that does not say
        return value
    try:
        signature.bind(*parameters)
    except TypeError as error:
        how = f"with the {' and the '.join(parameters)}" if parameters else "without an argument"
        remedy = "" if parameters else " It finds the request in flask.request."
        raise ConfigurationError(f"{written} is called {how}: {error}.{remedy}") from None
    return value


def truth(option: str, answer: object) -> bool:
    """Whether a condition's answer is true.

    :raises ConfigurationError: It must be awaited, or is a text that says no: both are true to
        Python.
    """
    if answer is True or answer is False:
        return answer
    if inspect.isawaitable(answer):
        close_coroutine(answer)
        raise ConfigurationError(
            f"{option} gave {type(answer).__name__!r}, which must be awaited: give True or False."
        )
    if isinstance(answer, str) and answer.strip().lower() in NO:
        raise ConfigurationError(
            f"{option} gave the text {answer!r}, which is true to Python: give True or False."
        )
    return bool(answer)


def close_coroutine(answer: object) -> None:
    """End a coroutine that will not be awaited, without a warning."""
    if inspect.iscoroutine(answer):
        answer.close()


def _is(kind: Any, value: Any) -> bool:
    return bool(kind(value) or kind(type(value).__call__))
