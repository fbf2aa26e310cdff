"""An expensive report: four are made at once, eight wait up to two seconds, others come later.

Run it with ``flask --app examples/reports/app concurrency serve``, or with another server and
``FLASK_CONCURRENCY_SERVER_THREADS`` set to its threads. Then ask::

    curl -o orders.csv "http://127.0.0.1:8000/orders.csv?days=365"
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date, timedelta
from random import Random

from flask import Flask, Response, abort, request

from flask_concurrency import Concurrency, InFlight

FIRST_DAY = date(2025, 1, 1)
ORDERS_A_DAY = 400
MAX_DAYS = 3_650

app = Flask(__name__)
concurrency = Concurrency(app)


@app.get("/orders.csv")
@concurrency.limit(InFlight(4, max_queue=8, max_wait=2.0))
def orders() -> Response:
    """Send every order of the days asked for, row by row.

    The place is held until the last row is sent or the client leaves: a stream is work as long as
    it lasts.
    """
    days = request.args.get("days", 365, type=int)
    if not 1 <= days <= MAX_DAYS:
        abort(400, f"Give days from 1 to {MAX_DAYS}.")
    headers = {"Content-Disposition": "attachment; filename=orders.csv"}
    return Response(lines(days), mimetype="text/csv", headers=headers)


@app.get("/health")
def health() -> str:
    """Answer while reports are being made: two threads of the server never wait for a place."""
    return "ok"


def lines(days: int) -> Iterator[str]:
    """The report as text, a day at a time, so that it never is in memory as a whole."""
    for number in range(-1, days):
        buffer = io.StringIO()
        rows = [["day", "order", "amount"]] if number < 0 else day(number)
        csv.writer(buffer).writerows(rows)
        yield buffer.getvalue()


def day(number: int) -> list[list[str]]:
    """The orders of one day; a shop would ask its database here."""
    amounts = Random(number)
    on = (FIRST_DAY + timedelta(days=number)).isoformat()
    return [
        [on, f"{number}-{order}", f"{amounts.uniform(5, 500):.2f}"] for order in range(ORDERS_A_DAY)
    ]
