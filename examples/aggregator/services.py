"""Six services as slow as services are; ``offers`` takes longer than any client waits."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask, abort

SECONDS = {
    "weather": 0.1,
    "news": 0.2,
    "traffic": 0.3,
    "prices": 0.4,
    "events": 0.5,
    "offers": 5.0,
}

app = Flask(__name__)


@app.get("/<name>")
def service(name: str) -> dict[str, Any]:
    """Take the time that this service takes, and answer."""
    if name not in SECONDS:
        abort(404)
    time.sleep(SECONDS[name])
    return {"service": name, "took": SECONDS[name]}
