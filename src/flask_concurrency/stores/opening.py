"""Open the store a URI names. Knows which stores exist; knows nothing of what they count."""

from __future__ import annotations

from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.stores.store import Store
from flask_concurrency.vocabulary.errors import ConfigurationError


def open_store(uri: str) -> Store:
    """Open a store.

    :param uri: ``"memory://"``, the counts of one process.
    :raises ConfigurationError: No store has that URI.
    """
    if uri == "memory://":
        return MemoryStore()
    raise ConfigurationError(f'No store has the URI {uri!r}. Use "memory://".')
