"""The keys a limit can count by: :func:`remote_address`, :func:`header`, :func:`user`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask_concurrency.flask_app.declarations.keys import header, remote_address

if TYPE_CHECKING:
    from flask_concurrency.flask_app.declarations.logged_in_user import user

__all__ = ["header", "remote_address", "user"]


def __getattr__(name: str) -> Any:
    """Need Flask-Login where ``user`` is imported, and nowhere else.

    :raises ConfigurationError: It is not installed.
    """
    if name != "user":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flask_concurrency.flask_app.declarations.logged_in_user import user

    return user
