"""Give a host store a private directory of its own, in memory if there is some, then remove it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

SHARED_MEMORY = "/dev/shm"


@contextmanager
def host_store() -> Iterator[str]:
    """The URI of a host store that is new, gone at the end of the block."""
    in_memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="flask-concurrency-benchmark-", dir=in_memory) as directory:
        yield f"host://{directory}"
