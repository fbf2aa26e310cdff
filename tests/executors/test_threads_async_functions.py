"""An async function is refused where it is submitted: a thread would only call it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from flask_concurrency.executors.threads import ThreadExecutor


async def fetch() -> None:
    """Never awaited here."""


@pytest.mark.parametrize("way", ["submit", "spawn", "map", "run"])
def test_an_async_function_is_refused(pool_of: Callable[..., ThreadExecutor], way: str) -> None:
    """The message says where it belongs."""
    pool = pool_of(1)

    def use() -> object:
        if way == "map":
            return pool.map(fetch, [1])
        if way == "run":
            return asyncio.run(pool.run(fetch))
        return getattr(pool, way)(fetch)

    with pytest.raises(TypeError, match=r"'fetch' is an async function.*concurrency\.loop\.run"):
        use()
