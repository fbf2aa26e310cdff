"""Blocks around a view: each is there for every request, the first ones included."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from flask import Flask

from flask_concurrency.flask_app.view_wrapping import put_around_view

View = Callable[..., Any]


class ReadAndInterrupted(dict[str, View]):
    """View functions; the second read of one lets the other thread go first, if it can."""

    def __init__(self, views: dict[str, View], overtake: Callable[[], None]) -> None:
        super().__init__(views)
        self._reads = 0
        self.other = threading.Thread(target=overtake)

    def __getitem__(self, endpoint: str) -> View:
        self._reads += 1
        view = super().__getitem__(endpoint)
        if self._reads == 2:
            self.other.start()
            self.other.join(0.05)
        return view


def test_of_two_blocks_put_at_once_neither_is_lost() -> None:
    """Two requests meet a route first, at the same time: one brings its limit, one its deadline."""
    app = Flask(__name__)
    app.view_functions["view"] = lambda: ""
    views = ReadAndInterrupted(
        app.view_functions, lambda: put_around_view(app, "view", "deadline", nullcontext)
    )
    app.view_functions = views
    put_around_view(app, "view", "limit", nullcontext)
    views.other.join()
    view = app.view_functions["view"]
    assert hasattr(view, "limit")
    assert hasattr(view, "deadline")
