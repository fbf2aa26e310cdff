"""Make requests to an app with limits, and return in short what they are answered."""

from __future__ import annotations

from typing import Any

from flask import Flask


def statuses(app: Flask, path: str = "/", times: int = 1, **options: Any) -> list[int]:
    """What so many requests in a row are answered."""
    answers = []
    for _ in range(times):
        with app.test_client().open(path, **options) as response:
            answers.append(response.status_code)
    return answers


def policies(app: Flask, path: str, **options: Any) -> str:
    """What the answer to one request says of its limits."""
    return app.test_client().open(path, **options).headers.get("RateLimit-Policy", "")
