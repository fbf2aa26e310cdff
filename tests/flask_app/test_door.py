"""What the door adds to a response belongs to that response alone."""

from __future__ import annotations

from flask import Flask, Response

from flask_concurrency import Concurrency, InFlight


def test_a_response_the_app_keeps_stays_as_it_was() -> None:
    """A response sent twice, as from a cache, tells each client its own count, once."""
    app = Flask(__name__)
    concurrency = Concurrency(app)
    kept = Response("kept")
    app.get("/")(concurrency.limit("5/minute")(lambda: kept))
    told = [app.test_client().get("/").headers.getlist("RateLimit") for _ in range(2)]
    assert [field.partition("r=")[2][0] for [field] in told] == ["4", "3"]
    assert "RateLimit" not in kept.headers


def test_a_handlers_own_retry_after_stands() -> None:
    """An app that answers refusals itself knows better when to come back."""
    app = Flask(__name__)
    concurrency = Concurrency(app)
    app.get("/")(concurrency.limit("1/minute")(lambda: "in"))

    @app.errorhandler(429)
    def busy(error: object) -> tuple[str, int, dict[str, str]]:
        return "later", 429, {"retry-after": "7"}

    answers = [app.test_client().get("/") for _ in range(2)]
    assert answers[1].status_code == 429
    assert answers[1].headers.getlist("Retry-After") == ["7"]


def test_a_request_made_by_hand_gives_its_place_back() -> None:
    """Also the first one, which is when the app starts to look out for such requests."""
    app = Flask(__name__)
    concurrency = Concurrency(app)
    app.get("/")(concurrency.limit(InFlight(1))(lambda: "in"))
    for _ in range(3):
        with app.test_request_context("/"):
            assert app.preprocess_request() is None
    assert app.test_client().get("/").status_code == 200
