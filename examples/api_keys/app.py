"""An API with plans: a customer's key decides how much they may ask, and how much at once.

Run it with ``flask --app examples/api_keys/app run``, then ask as a customer and without a key::

    curl -i -H "X-API-Key: ada-5f2e91" http://127.0.0.1:5000/factors/360
    curl -i http://127.0.0.1:5000/factors/360
"""

from __future__ import annotations

from flask import Blueprint, Flask, abort

from flask_concurrency import Concurrency, Rate, Refusal
from flask_concurrency.keys import header, remote_address

PLANS: dict[str, list[str | Rate]] = {
    "trial": ["5/minute"],
    "free": ["20/minute; 500/day", "1 in flight"],
    "pro": [Rate("600/minute", algorithm="token-bucket", burst=50), "8 in flight"],
}
CUSTOMERS = {"ada": "pro", "brian": "free"}
API_KEYS = {"ada-5f2e91": "ada", "brian-0d44aa": "brian", "brian-77c0b3": "brian"}

api_key = header("X-API-Key")
api = Blueprint("api", __name__)
app = Flask(__name__)
concurrency = Concurrency(app)


def customer() -> str | None:
    """Whose key the request carries; ``None`` without a key and for a wrong one."""
    return API_KEYS.get(api_key())


def who() -> str:
    """Who is counted: the customer, whichever of their keys they use, or else the address.

    Never the header as it was sent: a client that invents keys would have a fresh quota with each.
    """
    name = customer()
    return f"address:{remote_address()}" if name is None else f"customer:{name}"


def plan() -> str:
    """The plan of the client that asks."""
    return CUSTOMERS.get(customer() or "", "trial")


# With a name, the routes share one count: the plan is for the API, not for each route.
concurrency.limit(lambda: PLANS[plan()], key=who, name="plan")(api)


@api.before_request
def refuse_wrong_keys() -> None:
    """Runs after the limits, so a client that tries keys out spends its address's trial plan."""
    if api_key() and customer() is None:
        abort(401)


@api.get("/factors/<int:number>")
def factors(number: int) -> dict[str, object]:
    """Take a number apart: ``360`` is ``2 · 2 · 2 · 3 · 3 · 5``."""
    if not 1 < number <= 10**9:
        abort(400, "Give a number from 2 to 1000000000.")
    found = []
    divisor = 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return {"factors": [*found, number] if number > 1 else found}


@api.get("/plan")
def show_plan() -> dict[str, object]:
    """What the plan allows and what is left of it, this request included."""
    decision = concurrency.current
    verdicts = decision.verdicts if decision is not None else ()
    return {"plan": plan(), "left": {verdict.name: verdict.remaining for verdict in verdicts}}


@app.errorhandler(Refusal)
def refused(error: Refusal) -> tuple[dict[str, object], int]:
    """Say it in JSON.

    Always 429: every limit here is the customer's own, also the one on requests in flight, so the
    server is not busy for other clients.
    """
    return {
        "error": "plan_exhausted",
        "plan": plan(),
        "exceeded": [verdict.name for verdict in error.decision.refusing],
        "retry_after": error.decision.retry_after,
    }, 429


app.register_blueprint(api)
