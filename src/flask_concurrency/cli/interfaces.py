"""Decide by which interface granian serves an app, and say why. Serves nothing.

The facts are granian's (2.8), each found by a test in ``tests/cli/test_serve_for_real.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any, Final, NamedTuple

from flask import Flask

from flask_concurrency.flask_app.app_state import AppState

STREAMS: Final = frozenset({"stream_with_context", "stream_template", "stream_template_string"})
"""Names of Flask's that a view uses to stream."""


class Choice(NamedTuple):
    """An interface, and the reason for it.

    :ivar asgi: Whether it is ASGI, and not WSGI.
    :ivar because: A sentence for people.
    """

    asgi: bool
    because: str


def choose(app: Flask, state: AppState | None, asked: bool | None) -> Choice:
    """Choose the interface for an app.

    :param state: What the extension holds for it; ``None`` for an app without the extension.
    :param asked: Whether ASGI was asked for; ``None`` if nothing was.
    """
    sockets = [rule.rule for rule in app.url_map.iter_rules() if rule.websocket]
    streams = sorted(set(_streaming(app)))
    if asked is not None:
        return Choice(asked, "as asked." if asked else f"as asked.{_missing(sockets, streams)}")
    if state is None:
        return Choice(False, f"since ASGI needs the extension.{_missing(sockets, streams)}")
    if sockets:
        return Choice(True, f"since WSGI serves no WebSockets, as {_some(sockets)}.")
    if streams:
        return Choice(
            True,
            f"since it streams ({_some(streams)}): on WSGI an answer that fails in the middle "
            "would look complete.",
        )
    return Choice(False, "quickest for plain views. --asgi is for streams and async views.")


def _missing(sockets: list[str], streams: list[str]) -> str:
    """What of the app WSGI does not serve as it should."""
    told = ""
    if sockets:
        told += f" Warning: WebSockets ({_some(sockets)}) are not served; --asgi serves them."
    if streams:
        told += (
            f" Warning: an answer of {_some(streams)} that fails in the middle looks complete to "
            "its client; not so with --asgi."
        )
    return told


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _streaming(app: Flask) -> Iterator[str]:
    """Endpoints whose views seem to answer with a generator."""
    for endpoint, view in app.view_functions.items():
        view_class: Any = getattr(view, "view_class", None)
        functions: list[Any] = [view]
        if view_class is not None:
            methods = getattr(view_class, "methods", None) or ()
            functions = [getattr(view_class, name.lower(), None) for name in methods]
            functions.append(view_class.dispatch_request)
        if any(_streams(inspect.unwrap(each)) for each in functions if callable(each)):
            yield endpoint


def _streams(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return False
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    generators = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
    return bool(
        code.co_flags & generators
        or STREAMS.intersection(code.co_names)
        or any(each.co_flags & generators and each.co_name != "<genexpr>" for each in inner)
    )
