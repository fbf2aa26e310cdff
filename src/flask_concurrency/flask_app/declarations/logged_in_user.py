"""Say who is logged in, as Flask-Login knows it. Called inside a request.

The only file that needs Flask-Login; it knows no limit and no store.
"""

from __future__ import annotations

from flask import current_app

from flask_concurrency.flask_app.declarations.keys import remote_address
from flask_concurrency.vocabulary.errors import ConfigurationError

try:
    from flask_login import current_user  # type: ignore[import-untyped]
except ImportError as error:
    raise ConfigurationError(
        "The key 'user' counts by the logged-in user of Flask-Login, which is not installed: run "
        "'pip install Flask-Login', or give a function of your own, as in "
        'limit("5/minute", key=lambda: g.user_id, at="view").'
    ) from error


def user() -> str:
    """The user who is logged in with Flask-Login, or the address of a client that is not.

    ``"user:42"`` or ``"address:192.0.2.7"``: a user may choose any name and still never be
    counted as an address. A user whose ``is_authenticated`` is false counts as not logged in.

    It works on arrival, too: Flask-Login then loads the user, before any ``before_request`` hook,
    and keeps it for the view. Where the loader needs what a hook prepares, ask ``at="view"``.

    :raises ConfigurationError: The app has no ``LoginManager``.
    """
    if not hasattr(current_app, "login_manager"):
        raise ConfigurationError(
            f"The key 'user' needs a LoginManager, and {current_app.name!r} has none: call "
            "LoginManager(app)."
        )
    user_id = current_user.get_id() if current_user and current_user.is_authenticated else None
    # None and the empty text name no user; the number 0 may well be a user's.
    if user_id is None or user_id == "":
        return f"address:{remote_address()}"
    return f"user:{user_id}"
