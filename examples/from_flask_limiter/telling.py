"""Compare what a client is told: of the tightest limit, when to come back, in which form."""

from __future__ import annotations

from collections.abc import Iterator

from werkzeug.test import TestResponse

from .apps import ours, theirs, with_view
from .difference import Difference, ask

LIMITS = "100/minute; 3/hour"


def differences() -> Iterator[Difference]:
    """Each of them."""
    app, limiter = theirs(headers_enabled=True)
    their_answers = ask(with_view(app, limiter.limit(LIMITS)), 4)
    app, concurrency = ours()
    our_answers = ask(with_view(app, concurrency.limit(LIMITS)), 4)
    yield Difference(
        '"100/minute; 3/hour"; the 3rd answer, after which none is left of the hour',
        f"X-RateLimit-Remaining: {their_answers[2].headers['X-RateLimit-Remaining']}",
        f"RateLimit: {_without_times(our_answers[2].headers['RateLimit'])}",
    )
    yield Difference(
        "The same; is Retry-After sent with an answer that is no refusal?",
        _sent(their_answers[2]),
        _sent(our_answers[2]),
    )
    app, limiter = theirs()
    their_answer = ask(with_view(app, limiter.limit("1/hour")), 2)[1]
    app, concurrency = ours()
    our_answer = ask(with_view(app, concurrency.limit("1/hour")), 2)[1]
    yield Difference(
        '"1/hour", nothing configured; the 2nd answer',
        f"{their_answer.status_code} {their_answer.mimetype}, Retry-After {_sent(their_answer)}",
        f"{our_answer.status_code} {our_answer.mimetype}, Retry-After {_sent(our_answer)}",
    )


def _sent(answer: TestResponse) -> str:
    return "sent" if "Retry-After" in answer.headers else "not sent"


def _without_times(field: str) -> str:
    return ", ".join(item.partition(";t=")[0] for item in field.split(", "))
