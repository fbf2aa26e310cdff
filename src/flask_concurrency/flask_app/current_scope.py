"""Say to which request, or task, the running code belongs, for what must not be shared.

Async views of many requests run on one thread, so what is kept by thread is shared by them all.
What is kept by scope is not: each request has an app context of its own, and so has each task of
``concurrency.threads``. Knows no database.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any, Final

from flask import g, has_app_context
from flask.globals import app_ctx

_KEY: Final = "_flask_concurrency_locals"


def current_scope() -> Hashable:
    """What the running request or task is known by; the thread, outside of both.

    .. code-block:: python

        db_session = scoped_session(sessionmaker(engine), scopefunc=current_scope)

    As of Flask-SQLAlchemy, a session is to be removed when its scope ends, by
    ``@app.teardown_appcontext``: a later scope may be known by the same value.
    """
    if has_app_context():
        return id(app_ctx._get_current_object())  # type: ignore[attr-defined]
    return f"thread {threading.get_ident()}"


class ScopeLocal:
    """As ``threading.local``, for the running request or task, in whatever thread it runs.

    A subclass's ``__init__`` is called in each scope, with the arguments that the object was made
    with. Outside of an app context values are kept by thread.

    .. code-block:: python

        class ConnectionState(ScopeLocal, peewee._ConnectionState):
            pass

        database._state = ConnectionState()
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> ScopeLocal:
        """Make it, and remember what each scope is prepared with."""
        made = super().__new__(cls)
        object.__setattr__(made, "_arguments", (args, kwargs))
        object.__setattr__(made, "_of_thread", threading.local())
        return made

    def __getattr__(self, name: str) -> Any:
        try:
            return _values_of(self)[name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r} in this scope",
                name=name,
                obj=self,
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        _values_of(self)[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del _values_of(self)[name]
        except KeyError:
            raise AttributeError(name, name=name, obj=self) from None


def _values_of(local: ScopeLocal) -> dict[str, Any]:
    found: dict[str, Any]
    if has_app_context():
        kept = g.__dict__.setdefault(_KEY, {}) if hasattr(g, "__dict__") else {}
        by_local: dict[ScopeLocal, dict[str, Any]] = kept
        if local in by_local:
            return by_local[local]
        found = by_local[local] = {}
    else:
        of_thread: Any = object.__getattribute__(local, "_of_thread")
        if hasattr(of_thread, "values"):
            found = of_thread.values
            return found
        found = of_thread.values = {}
    args, kwargs = object.__getattribute__(local, "_arguments")
    type(local).__init__(local, *args, **kwargs)
    return found
