"""Play an ASGI server that notifies an application of its start and its end. Knows no Flask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from flask_concurrency.asgi.interface import AsgiApplication


@asynccontextmanager
async def lifespan(asgi: AsgiApplication) -> AsyncIterator[None]:
    """Start an application, and end it with the block."""
    told: asyncio.Queue[Any] = asyncio.Queue()
    said: asyncio.Queue[Any] = asyncio.Queue()
    serving = asyncio.ensure_future(asgi({"type": "lifespan"}, told.get, said.put))
    for step in ("startup", "shutdown"):
        told.put_nowait({"type": f"lifespan.{step}"})
        answered = asyncio.ensure_future(said.get())
        await asyncio.wait({answered, serving}, return_when=asyncio.FIRST_COMPLETED)
        assert (await answered)["type"] == f"lifespan.{step}.complete"
        if step == "startup":
            yield
    await serving
