"""An app with jobs that shows them on its dashboard, for a browser to look at."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask

from flask_concurrency import Concurrency

app = Flask(__name__)
app.config["CONCURRENCY_STORE"] = "host://"
app.config["CONCURRENCY_JOBS"] = {"ledger": os.environ["JOB_DASHBOARD_LEDGER"]}
concurrency = Concurrency(app)
concurrency.dashboard(app, access=lambda: True)


@concurrency.job
def build_report(year: int) -> int:
    """What the test runs itself."""
    return year


@app.post("/reports/<int:year>")
def create(year: int) -> Any:
    """Accept a report."""
    return build_report.submit(year).accepted()
