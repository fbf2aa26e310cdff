"""Decide who may see what an app counts. Closed unless the app opens it. Knows no page."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from flask import request

from flask_concurrency.vocabulary.safe_logger import SafeLogger

Access = Callable[[], object]
"""Asked in the request; a true answer lets it in."""

logger = SafeLogger("flask_concurrency.telemetry")

_FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via")


def from_this_machine() -> bool:
    """Whether the client runs on this machine: a loopback address, and no proxy in between.

    A proxy on the same machine has a loopback address, too, and passes on requests from
    anywhere; one of its header fields shows that.
    """
    if any(field in request.headers for field in _FORWARDED):
        return False
    try:
        return ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


def is_allowed(access: Access | None) -> bool:
    """Whether this request may see it.

    :param access: The app's function; ``None`` for clients of this machine alone. One that raises
        lets no client in, and is logged.
    """
    try:
        return bool((access or from_this_machine)())
    except Exception:
        logger.exception("The access function %r failed, so access was refused", access)
        return False
