"""Do something once a session of SQLAlchemy has committed, and never if it rolls back.

A job that starts before the commit finds no row; one whose rows were rolled back should not exist.
Knows no job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_WAITING: Final = "flask_concurrency_after_commit"

Waiting = list[tuple[Callable[[], object], Any]]
"""What to call, and the savepoint within which it was asked for."""


def when_committed(session: Any, call: Callable[[], object]) -> None:
    """Have ``call`` called after the session's transaction has committed.

    :param session: A session, or what gives the current one, such as ``db.session``. What ``call``
        raises, its ``commit()`` raises.
    """
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    actual = session if isinstance(session, Session) else session()
    waiting: Waiting | None = actual.info.get(_WAITING)
    if waiting is None:
        waiting = actual.info[_WAITING] = []
        event.listen(actual, "after_commit", _committed)
        event.listen(actual, "after_soft_rollback", _rolled_back)
    waiting.append((call, actual.get_nested_transaction()))


def _committed(session: Any) -> None:
    if session.in_nested_transaction():  # a savepoint was released: nothing is kept yet
        return
    waiting: Waiting = session.info[_WAITING]
    calls = [call for call, _ in waiting]
    waiting.clear()
    for call in calls:
        call()


def _rolled_back(session: Any, transaction: Any) -> None:
    waiting: Waiting = session.info[_WAITING]
    waiting[:] = [each for each in waiting if transaction.nested and not _within(each, transaction)]


def _within(each: tuple[Callable[[], object], Any], transaction: Any) -> bool:
    savepoint = each[1]
    while savepoint is not None and savepoint is not transaction:
        savepoint = savepoint.parent
    return savepoint is not None
