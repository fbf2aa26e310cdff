"""The keys a limit can count by: :func:`remote_address`, :func:`header`."""

from flask_concurrency.flask_app.keys import header, remote_address

__all__ = ["header", "remote_address"]
