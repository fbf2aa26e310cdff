"""Deadlines of blocks, and which counts where several stand around one another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from flask import Blueprint, Flask, jsonify
from flask.views import MethodView

from flask_concurrency import (
    Concurrency,
)
from flask_concurrency.runtime.deadline import remaining

LONG = 3600.0
"""Seconds no test takes."""


def test_the_narrowest_deadline_wins(app: Flask, concurrency: Concurrency) -> None:
    """A view's own time wins over its blueprint's, a method's over its class's."""
    blueprint = Blueprint("slow", __name__)
    concurrency.deadline(LONG)(blueprint)

    @blueprint.get("/inherited")
    def inherited() -> Any:
        return jsonify(concurrency.remaining())

    @blueprint.get("/own")
    @concurrency.deadline(2 * LONG)
    def own() -> Any:
        return jsonify(concurrency.remaining())

    @concurrency.deadline(LONG)
    class Item(MethodView):
        def get(self) -> Any:
            return jsonify(concurrency.remaining())

        @concurrency.deadline(2 * LONG)
        def post(self) -> Any:
            return jsonify(concurrency.remaining())

    app.register_blueprint(blueprint)
    app.add_url_rule("/item", view_func=Item.as_view("item"))
    client = app.test_client()
    times: list[Callable[[], Any]] = [
        lambda: client.get("/inherited"),
        lambda: client.get("/own"),
        lambda: client.get("/item"),
        lambda: client.post("/item"),
    ]
    left = [get().json for get in times]
    assert [seconds > LONG for seconds in left] == [False, True, False, True]


def test_a_block_can_only_shorten_the_time_around_it(concurrency: Concurrency) -> None:
    """Inside a short block a long one changes nothing; after it all is as before."""
    with concurrency.deadline(LONG):
        outer = concurrency.remaining()
        with concurrency.deadline(2 * LONG):
            inner = concurrency.remaining()
        assert outer is not None
        assert inner is not None
        assert inner <= outer
    assert concurrency.remaining() is None


def test_a_block_may_be_entered_by_many_threads_at_once(concurrency: Concurrency) -> None:
    """Each leaves its own, in whatever order."""
    block = concurrency.deadline(LONG)
    inside = threading.Barrier(2)
    first_has_left = threading.Event()

    def enter(first: bool) -> tuple[bool, bool]:
        with block:
            inside.wait(30)
            if not first:
                assert first_has_left.wait(30)
            timed = remaining() is not None
        if first:
            first_has_left.set()
        return timed, remaining() is None

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(enter, [True, False])) == [(True, True)] * 2


def test_blocks_leave_nothing_in_the_context(app: Flask, concurrency: Concurrency) -> None:
    """They are made anew for each request, and the context of a server's thread lives for long."""
    with app.app_context():
        sizes = set()
        for _ in range(3):
            with (
                concurrency.deadline(LONG),
                concurrency.limit("9/minute", name="sms", key=lambda: "all"),
            ):
                pass
            sizes.add(len(copy_context()))
    assert len(sizes) == 1
