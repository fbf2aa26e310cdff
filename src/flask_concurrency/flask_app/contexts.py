"""Say which contexts the installed Flask has. Knows no request."""

from __future__ import annotations

from flask.ctx import AppContext

CONTEXTS_ARE_MERGED = hasattr(AppContext, "has_request")
"""Whether one context holds both app and request (Flask 3.2), or two do (Flask 3.1)."""
