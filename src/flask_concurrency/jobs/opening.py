"""Open the ledger that a URL names. Knows which kinds there are, and nothing that they do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flask_concurrency.jobs.ledger import Capacity, Ledger
from flask_concurrency.jobs.sqlite_ledger import SqliteLedger
from flask_concurrency.vocabulary.errors import ConfigurationError

SQLITE: Final = "sqlite:///"


def open_ledger(
    url: str,
    *,
    app: str,
    capacity: Capacity = Capacity(),  # noqa: B008 # frozen
    volatile: bool = False,
) -> Ledger:
    """The ledger of a URL; nothing is opened before it is used.

    :param url: ``sqlite:////var/lib/shop/jobs.sqlite3``: three slashes, then the path.
    :param app: Whose jobs they are.
    :param volatile: Whether what is kept may be lost at a reboot, as in tests.
    :raises ConfigurationError: No ledger is kept there.
    """
    if url.startswith(SQLITE) and url != SQLITE:
        path = Path(url.removeprefix(SQLITE)).absolute()
        return SqliteLedger(path, app=app, capacity=capacity, volatile=volatile)
    raise ConfigurationError(
        f"{url!r} names no place for jobs. Write 'sqlite:////var/lib/shop/jobs.sqlite3'."
    )
