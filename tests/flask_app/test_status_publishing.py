"""An app publishes what its executors do from their first task on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from flask_concurrency import Concurrency
from flask_concurrency.flask_app.work import status_file

Use = Callable[[Concurrency], object]


async def nothing() -> None:
    pass


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The publishers that have begun."""
    begun: list[object] = []
    monkeypatch.setattr(status_file.Publisher, "begin", lambda self: begun.append(self))
    return begun


@pytest.mark.parametrize(
    "use",
    [
        lambda concurrency: concurrency.threads.submit(int).result(30),
        lambda concurrency: concurrency.loop.run(nothing()),
    ],
    ids=["threads", "loop"],
)
def test_publishing_begins_at_the_first_task(begun: list[object], use: Use) -> None:
    """To ask for an executor costs nothing and publishes nothing."""
    concurrency = Concurrency(app := Flask(__name__), store="memory://")
    with app.app_context():
        assert (concurrency.threads, concurrency.processes, concurrency.loop) is not None
        assert begun == []
        use(concurrency)
        use(concurrency)
    assert len(begun) == 1
    concurrency.threads.shutdown()
    assert concurrency.loop.shutdown()


def test_an_app_under_test_publishes_nothing(begun: list[object]) -> None:
    """Its processes belong to no deployment that an operator looks at."""
    app = Flask(__name__)
    app.testing = True
    concurrency = Concurrency(app)
    assert concurrency.threads.submit(int).result(30) == 0
    assert begun == []
    concurrency.threads.shutdown()
