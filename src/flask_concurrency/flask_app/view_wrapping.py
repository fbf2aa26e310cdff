"""Put a block around a view, after every hook and before the answer is made of what it returns.

Flask has no hook there, so the view function itself is replaced. Knows no limit and no deadline.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from flask import Flask

_replacing = threading.Lock()
"""Held from reading a view to replacing it, so that of two blocks at once neither is lost."""


def put_around_view(
    app: Flask, endpoint: str, name: str, block: Callable[[], AbstractContextManager[object]]
) -> None:
    """Replace an endpoint's view, the first time it is to be called, by one in a block.

    :param name: Attribute that marks such a view; one that has it stays as it is.
    :param block: Called in each request; gives the block, or raises what keeps the view from it.
    """
    if hasattr(app.view_functions[endpoint], name):
        return
    with _replacing:
        view = app.view_functions[endpoint]
        if not hasattr(view, name):
            app.view_functions[endpoint] = _inside(view, name, block)


def _inside(
    view: Callable[..., Any], name: str, block: Callable[[], AbstractContextManager[object]]
) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(view):

        @functools.wraps(view)
        async def inside(*args: Any, **kwargs: Any) -> Any:
            with block():
                return await view(*args, **kwargs)
    else:

        @functools.wraps(view)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with block():
                return view(*args, **kwargs)

    setattr(inside, name, True)
    return inside
