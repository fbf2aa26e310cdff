"""Decide how a loop runs where gevent has made greenlets of threads. Knows no loop of any thread.

All greenlets share one thread, and asyncio remembers the running loop by thread. So the loop is
shown only while it runs callbacks: while it waits, other greenlets run, and find none.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


def make_loop() -> asyncio.AbstractEventLoop:
    """Make a loop of asyncio, whose waits let other greenlets run. One of uvloop would not."""
    # gevent has replaced the selectors, too; so the class is asked for only now.
    selector: Any = selectors.DefaultSelector()
    select = selector.select

    def select_unseen(timeout: float | None = None) -> Any:
        loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            return select(timeout)
        finally:
            asyncio._set_running_loop(loop)

    selector.select = select_unseen
    return asyncio.SelectorEventLoop(selector)
