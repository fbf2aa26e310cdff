"""What the page on 429 and 503 says is what the app answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from werkzeug.test import TestResponse

PAGE = "docs/explanation/429-or-503.md"
BOTH, BETWEEN = range(2)
Run = Callable[..., dict[str, Any]]
Begun = Callable[..., TestResponse]


def violated(answer: TestResponse) -> Any:
    return json.loads(answer.data)["violated-policies"]


def test_where_both_refuse_the_rate_gives_the_status(
    pages: dict[str, Any], run_block: Run, begun: Begun
) -> None:
    """And the body names both, word for word."""
    app = run_block(PAGE, BOTH)["app"]
    begun(app, "/report", X_API_Key="ada").close()
    inside = begun(app, "/report", X_API_Key="ada")

    refused = begun(app, "/report", X_API_Key="ada")

    assert inside.status_code == 200
    assert refused.status_code == 429
    shown = json.loads(pages[PAGE].blocks("json")[0])
    assert json.loads(refused.data) == shown


def test_where_only_the_place_is_taken_it_is_503(run_block: Run, begun: Begun) -> None:
    """The server is busy, and nothing of the hour is spent."""
    app = run_block(PAGE, BOTH)["app"]
    inside = begun(app, "/report", X_API_Key="ada")

    refused = begun(app, "/report", X_API_Key="ada")

    assert inside.status_code == 200
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) in range(1, 4)
    assert '"route:2/hour";r=1;' in refused.headers["RateLimit"]


def test_a_clients_own_limit_is_429(run_block: Run, begun: Begun) -> None:
    """Their third request; but 503 for another customer, once all permits are taken."""
    app = run_block(PAGE, BETWEEN)["app"]
    ada = [begun(app, "/report", X_API_Key="ada") for _ in range(3)]
    others = [begun(app, "/report", X_API_Key=f"customer {number}") for number in range(7)]

    assert [answer.status_code for answer in ada] == [200, 200, 429]
    assert violated(ada[2]) == ["your requests:2 in flight"]
    assert [answer.status_code for answer in others] == [200] * 6 + [503]
    assert violated(others[6]) == ["all requests:8 in flight"]
