"""Open the ledger that a URL names. Knows which kinds there are, and nothing that they do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flask_concurrency.jobs.ledger import Capacity, Ledger
from flask_concurrency.stores.redis.url import names_redis
from flask_concurrency.vocabulary.errors import ConfigurationError

SQLITE: Final = "sqlite:///"


def open_ledger(
    url: str,
    *,
    app: str,
    capacity: Capacity = Capacity(),  # noqa: B008 # frozen
    volatile: bool = False,
    lease: float | None = None,
) -> Ledger:
    """The ledger of a URL; nothing is opened before it is used.

    :param url: ``sqlite:////var/lib/shop/jobs.sqlite3``: three slashes, then the path; or the URL
        of a Redis server.
    :param app: Whose jobs they are.
    :param volatile: Whether what is kept may be lost at a reboot, as in tests.
    :param lease: Seconds after which the jobs of a worker that says nothing are given to others,
        where no kernel can be asked.
    :raises ConfigurationError: No ledger is kept there.
    """
    if url.startswith(SQLITE) and url != SQLITE:
        try:
            from flask_concurrency.jobs.sqlite_ledger import SqliteLedger
        except ImportError:  # each flask command loads this file, and must not fail for it
            raise ConfigurationError(
                "Jobs in a file need SQLite, and this Python was built without it. Use another "
                "Python, or keep them in Redis."
            ) from None
        path = Path(url.removeprefix(SQLITE)).absolute()
        return SqliteLedger(path, app=app, capacity=capacity, volatile=volatile)
    if names_redis(url):
        try:
            from flask_concurrency.jobs.redis_ledger import LEASE, RedisLedger
        except ImportError:
            raise ConfigurationError(
                "Jobs in Redis need its client, which is not installed: "
                'pip install "Flask-Concurrency[redis]"'
            ) from None
        return RedisLedger(url, app=app, capacity=capacity, lease=lease or LEASE, volatile=volatile)
    raise ConfigurationError(
        f"{url!r} names no place for jobs. Write 'sqlite:////var/lib/shop/jobs.sqlite3', or "
        "'redis://localhost:6379/0'."
    )
