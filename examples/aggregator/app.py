"""A front page of five services: what has answered within a second is shown, the rest is not.

Run the services, which are slow on purpose, and the page::

    flask --app examples/aggregator/services run --port 5001
    flask --app examples/aggregator/app concurrency serve

Then ask::

    curl http://127.0.0.1:8000/
"""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.request import urlopen

from flask import Flask

from flask_concurrency import Concurrency

SERVICES = ("weather", "news", "traffic", "events", "offers")

app = Flask(__name__)
app.config["SERVICES_URL"] = os.environ.get("SERVICES_URL", "http://127.0.0.1:5001")
app.config["PATIENCE"] = 1.0  # seconds in which a reader does not get impatient
concurrency = Concurrency(app)


@app.get("/")
def front_page() -> dict[str, Any]:
    """Ask all five at once, and give what there is when the time is up.

    A service that fails is not a reason to show nothing. A mistake in this file is: it is raised,
    and the other calls are ended.
    """
    with concurrency.task_group(timeout=app.config["PATIENCE"], policy="partial") as group:
        asked = {name: group.threads.submit(ask, name) for name in SERVICES}
    missing = [name for name, task in asked.items() if task in group.missing]
    shown = {name: task.result() for name, task in asked.items() if name not in missing}
    return {"page": shown, "missing": missing}


def ask(name: str) -> Any:
    """What a service answers, or ``None`` if it does not or says that it cannot."""
    url = f"{app.config['SERVICES_URL']}/{name}"
    try:
        # No thread waits for an answer that comes too late to be shown.
        with urlopen(url, timeout=concurrency.remaining()) as answer:
            return json.load(answer)
    except OSError:
        return None
