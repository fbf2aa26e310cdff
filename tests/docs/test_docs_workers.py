"""What the page on many workers promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask

from flask_concurrency import Concurrency
from flask_concurrency.stores.host.host_store import MAX_KEYS as HOST_KEYS
from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.memory import MAX_KEYS as MEMORY_KEYS
from flask_concurrency.stores.redis.redis_store import LEASE, RedisStore

PAGE = "docs/how-to/many-workers.md"
Run = Callable[..., dict[str, Any]]


def admitted(app: Flask, times: int) -> int:
    """How many of so many reports are made."""
    client = app.test_client()
    return sum(client.get("/report").status_code == 200 for _ in range(times))


def test_an_app_that_starts_anew_goes_on_counting(run_block: Run) -> None:
    """With nothing configured, as a second worker does too."""
    first, second = run_block(PAGE)["app"], run_block(PAGE)["app"]

    assert admitted(first, 60) + admitted(second, 60) == 100


def test_apps_that_are_tested_do_not_see_each_other(run_block: Run) -> None:
    """Each begins at nothing."""
    first, second = run_block(PAGE)["app"], run_block(PAGE)["app"]
    first.testing = second.testing = True

    assert admitted(first, 60) + admitted(second, 60) == 120


def test_apps_of_one_name_count_together_wherever_they_are(tmp_path: Path) -> None:
    """A release in a new directory begins anew, unless both say what they are."""

    def release(number: int, **config: str) -> Flask:
        app = Flask("shop", root_path=str(tmp_path / f"release-{number}"))
        app.config.update(CONCURRENCY_STORE=f"host://{tmp_path}", **config)
        Concurrency(app, default_limits="100/hour")
        app.add_url_rule("/report", "report", lambda: "Here is your report.")
        return app

    apart = [release(number) for number in (1, 2)]
    together = [release(number, CONCURRENCY_NAMESPACE="shop") for number in (1, 2)]

    assert sum(admitted(app, 60) for app in apart) == 120
    assert sum(admitted(app, 60) for app in together) == 100


def test_the_numbers_of_the_page_are_those_of_the_stores(pages: dict[str, Any]) -> None:
    """Keys, seconds of a lease, milliseconds between two looks."""
    text = pages[PAGE].text

    assert f"{HOST_KEYS:,} keys" in text
    assert f"{MEMORY_KEYS:,} keys" in text
    assert f"within {LEASE:g} seconds" in text
    assert HostStore.poll_interval is not None
    assert RedisStore.poll_interval is not None
    assert f"within {HostStore.poll_interval * 1000:g} milliseconds" in text
    assert f"on Redis {RedisStore.poll_interval * 1000:g}" in text
