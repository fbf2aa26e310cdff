"""How big things are: the servers, and what they take. Knows no Flask."""

WORKERS = 2
"""Worker processes of the API, and of stock Flask beside it."""

BLOCKING_THREADS = 128
"""Threads of each worker that run views."""

OVERLOADED_THREADS = 16
"""Threads of each of the two servers that are overloaded."""

PAGE_THREADS = 64
"""Threads of the page's own server, each of which may be late with a page."""

POOL_THREADS = 16
"""Threads of ``concurrency.threads`` in each worker of the API."""

MOST_WAITS = WORKERS * BLOCKING_THREADS
"""Requests that can wait at once on either server: one thread each."""

MAX_UPLOAD = 12 * 1024 * 1024
"""Bytes of a photo, form around it included."""
