"""A task in a worker process has no request, and says so."""

from __future__ import annotations

import pytest
from flask import request

from flask_concurrency.flask_app.work.worker_app import find_app


@pytest.mark.parametrize("place", ["tests.apps.under_load:app", None])
def test_a_task_that_wants_the_request_hears_where_it_is(place: str | None) -> None:
    """With the app in the worker and without: Flask's text alone would suggest a context."""
    context = find_app(place, None)
    with pytest.raises(RuntimeError) as raised, context():
        request.path  # noqa: B018
    assert any("not the request" in note for note in raised.value.__notes__)
